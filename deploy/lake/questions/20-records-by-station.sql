-- How many records are here of each station?
select host_name, count(*) as records from states group by host_name order by host_name;
