-- Were all of them watching? Seconds watched, and seconds in all.
select host_name, ledger_origin, watched_seconds, seconds from stations
where seconds is not null order by host_name, ledger_origin;
