-- Which programs are new, and since when?
select process_executable as program, min(day) as first_day, count(distinct host_name) as stations from flows
group by program order by program;
