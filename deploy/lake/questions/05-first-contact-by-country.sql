-- When was a country reached first, by any station?
select destination_geo_country_iso_code as country, min(day) as first_day from flows
group by country order by country;
