-- What went where it must not, by which program?
select destination_geo_country_iso_code as country, destination_as_organization_name as operator, process_executable as program, count(*) as flows,
  sum(source_bytes) as bytes, count(distinct host_name) as stations
from violations group by country, operator, program order by country, operator, program;
