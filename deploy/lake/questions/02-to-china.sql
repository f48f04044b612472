-- Did anything, anywhere, go to CN, and from which stations?
select host_name, count(*) as flows, sum(source_bytes) as bytes from violations
where destination_geo_country_iso_code = 'CN' group by host_name order by host_name;
