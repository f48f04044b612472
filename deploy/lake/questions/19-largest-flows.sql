-- Which ten flows were the largest?
select source_bytes, event_id from flows order by source_bytes desc, event_id limit 10;
