-- Which stations reached an operator, by the number of its network?
select host_name, count(*) as flows, sum(source_bytes) as bytes from flows
where destination_as_number = 45090 group by host_name order by host_name;
