-- On which days?
select day, count(*) as flows, sum(source_bytes) as bytes, count(distinct host_name) as stations
from violations group by day order by day;
