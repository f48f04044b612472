-- Who violated on the last day of which anything is known?
select host_name, count(*) as flows from violations
where day = (select max(day) from flows) group by host_name order by host_name;
