-- Which stations have most violations?
select host_name, count(*) as flows, sum(source_bytes) as bytes from violations
group by host_name order by flows desc, host_name;
