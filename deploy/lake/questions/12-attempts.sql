-- What was tried and never left, by country?
select destination_geo_country_iso_code as country, count(*) as flows from flows
where geofenced_phase = 'attempt' group by country order by country;
