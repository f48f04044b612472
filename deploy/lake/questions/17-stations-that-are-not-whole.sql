-- Which stations are silent, have gaps in their ledger, or signed two?
select host_name, ledger_origin, state from stations
where state <> 'whole' order by host_name, ledger_origin;
