-- For which times does silence prove nothing, and why?
select host_name, reason, count(*) as gaps from gaps
where extent = 'blind' group by host_name, reason order by host_name, reason;
