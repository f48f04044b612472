-- Under which names?
select destination_domain as domain, destination_geo_country_iso_code as country, count(*) as flows from violations
group by domain, country order by domain, country;
