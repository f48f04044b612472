-- What stays in a country by its address, and is another's by its operator?
select destination_geo_country_iso_code as country, geofenced_operator_country as operator_country, destination_as_organization_name as operator,
  count(*) as flows, sum(source_bytes) as bytes
from flows where destination_geo_country_iso_code <> geofenced_operator_country
group by country, operator_country, operator order by country, operator_country, operator;
