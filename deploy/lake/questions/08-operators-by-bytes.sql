-- Which ten operators got most?
select destination_as_organization_name as operator, sum(source_bytes) as bytes, count(*) as flows from flows
group by operator order by bytes desc, operator limit 10;
