// The tables asked by node-postgres as it is published.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import pg from 'pg';
import { cleanup, env } from './platform.mjs';

const connect = async (t) => {
  const client = new pg.Client({
    connectionString: env.POSTGRES_URL.split('?')[0],
    ssl: { ca: readFileSync(env.GANTRY_CA_FILE) },
  });
  await client.connect();
  cleanup(t, () => client.end());
  return client;
};

test('statements and parameters', async (t) => {
  const client = await connect(t);
  const { rows, fields } = await client.query('SELECT $1::int4 AS n, $2::text AS s, $3::jsonb AS j, null::text AS z', [5, 'é', { a: 1 }]);
  assert.deepEqual(rows, [{ n: 5, s: 'é', j: { a: 1 }, z: null }]);
  assert.deepEqual(fields.map((field) => field.dataTypeID), [23, 25, 3802, 25]);
  const { rows: tables } = await client.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
  assert.ok(tables.some((row) => row.table_name === 'Telemetry'));
});

test('errors carry their state and leave the connection as it was', async (t) => {
  const client = await connect(t);
  await assert.rejects(client.query('SELECT nosuch FROM telemetry'), { code: '42703', position: '8' });
  assert.equal((await client.query('SELECT 1 AS one; SELECT 2 AS two'))[1].rows[0].two, 2);
  const prepared = { name: 'again', text: 'SELECT $1::int8 + 1 AS n' };
  for (const n of [1, 2]) assert.equal((await client.query({ ...prepared, values: [n] })).rows[0].n, String(n + 1));
});
