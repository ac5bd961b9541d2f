create table telemetry (ts timestamptz not null, device text not null, temperature float8, n bigint, ok bool, body jsonb);
insert into telemetry values
  ('2024-01-01T00:00:00Z', 'a', 20.5, 1, true, '{"v": 1, "tags": ["x", "y"], "s": "one"}'),
  ('2024-01-01T00:05:00Z', 'a', 21.5, 2, false, '{"v": 2.5, "in": {"deep": true}}'),
  ('2024-01-01T01:00:00Z', 'b', null, 3, null, '{"s": "three"}'),
  ('2024-01-02T00:00:00Z', 'b', -3.25, null, true, '[1, 2, 3]'),
  ('2024-01-31T12:30:15.5Z', 'c', 100, 5, true, null),
  ('2024-02-29T23:59:59Z', 'C_d', 0, -6, false, '{"v": null}');
create table sites (device text not null, site text not null, capacity int);
insert into sites values ('a', 'north', 10), ('b', 'south', null), ('z', 'south', 30);
