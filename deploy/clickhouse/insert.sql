-- The lake into the tables, from a directory that the server may read (user_files_path, or clickhouse local). From a
-- bucket: s3('https://BUCKET/flows/*/*.parquet', 'Parquet') in place of file(...). What is there already is put in
-- once more and merged away; to put in less, name days: /srv/lake/flows/day=2026-11-2*/*.parquet.

INSERT INTO all_states (timestamp, event_id, event_end, geofenced_last_seen, geofenced_revision, host_name,
    network_transport, source_ip, source_bytes, source_packets, destination_ip, destination_port, destination_bytes,
    destination_domain, destination_geo_country_iso_code, destination_as_number, destination_as_organization_name,
    process_pid, process_name, process_executable, process_command_line, process_hash_sha256, user_id, user_name,
    service_name, geofenced_verdict, geofenced_certainty, geofenced_reason, geofenced_violation, geofenced_phase,
    geofenced_operator_country, geofenced_policy_sha256, ledger_origin, ledger_block, ledger_entry)
SELECT timestamp, event_id, event_end, geofenced_last_seen, geofenced_revision, host_name,
    network_transport, source_ip, source_bytes, source_packets, destination_ip, destination_port, destination_bytes,
    destination_domain, destination_geo_country_iso_code, destination_as_number, destination_as_organization_name,
    process_pid, process_name, process_executable, process_command_line, process_hash_sha256, user_id, user_name,
    service_name, geofenced_verdict, geofenced_certainty, geofenced_reason, geofenced_violation, geofenced_phase,
    geofenced_operator_country, geofenced_policy_sha256, ledger_origin, ledger_block, ledger_entry
FROM file('/srv/lake/flows/*/*.parquet', 'Parquet');

INSERT INTO all_rollups (timestamp, host_name, process_executable, user_name, destination_geo_country_iso_code,
    geofenced_verdict, geofenced_flows, source_bytes, destination_bytes, ledger_origin, ledger_block, ledger_entry)
SELECT timestamp, host_name, process_executable, user_name, destination_geo_country_iso_code,
    geofenced_verdict, geofenced_flows, source_bytes, destination_bytes, ledger_origin, ledger_block, ledger_entry
FROM file('/srv/lake/rollups/*/*.parquet', 'Parquet');
