-- How much left in all, by country? Flows, and what was only added up.
select country, sum(bytes) as total from (
  select destination_geo_country_iso_code as country, source_bytes as bytes from flows
  union all
  select destination_geo_country_iso_code as country, source_bytes as bytes from rollups) as both_of_them
group by country order by country;
