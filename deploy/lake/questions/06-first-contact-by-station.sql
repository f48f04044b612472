-- When did each station first reach a country that is not approved?
select host_name, destination_geo_country_iso_code as country, min(day) as first_day from violations
group by host_name, country order by host_name, country;
