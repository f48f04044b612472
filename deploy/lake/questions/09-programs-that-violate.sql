-- Which programs violate, as whom, on how many stations?
select process_executable as program, user_name, count(*) as flows, count(distinct host_name) as stations
from violations group by program, user_name order by program, user_name;
