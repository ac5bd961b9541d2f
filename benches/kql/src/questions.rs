//! The ten questions, in both languages.

/// One question.
pub struct Question {
    /// What is asked.
    pub name: &'static str,
    /// In KQL.
    pub kql: &'static str,
    /// In SQL of DuckDB.
    pub sql: &'static str,
}

/// All of them.
pub const QUESTIONS: [Question; 10] = [
    Question {
        name: "last value per device",
        kql: "Telemetry | summarize arg_max(EnqueuedTime, temperature) by DeviceId",
        sql: "SELECT DeviceId, max(EnqueuedTime), arg_max(temperature, EnqueuedTime) FROM Telemetry GROUP BY DeviceId",
    },
    Question {
        name: "hourly average by site",
        kql: "Telemetry | summarize avg(temperature), max(pressure) by Site, Model, bin(EnqueuedTime, 1h)",
        sql: "SELECT Site, Model, time_bucket(INTERVAL 1 hour, EnqueuedTime) AS hour, avg(temperature), max(pressure) \
              FROM Telemetry GROUP BY ALL",
    },
    Question {
        name: "top anomalies",
        kql: "Telemetry | where score > 0.5 | top 100 by score desc \
              | project EnqueuedTime, DeviceId, score, temperature",
        sql: "SELECT EnqueuedTime, DeviceId, score, temperature FROM Telemetry WHERE score > 0.5 \
              ORDER BY score DESC LIMIT 100",
    },
    Question {
        name: "gap fill",
        kql: "Telemetry | where DeviceId startswith_cs 'motor-00010' \
              | make-series t = avg(temperature) default = real(null) \
                on EnqueuedTime from datetime(2026-01-01) to datetime(2026-01-31) step 15m by DeviceId \
              | extend t = series_fill_linear(t) \
              | mv-expand EnqueuedTime to typeof(datetime), t to typeof(real)",
        sql: "WITH seen AS (SELECT DeviceId, time_bucket(INTERVAL 15 minutes, EnqueuedTime) AS bin, avg(temperature) AS t \
                FROM Telemetry WHERE DeviceId LIKE 'motor-00010%' GROUP BY ALL), \
              grid AS (SELECT DeviceId, bin FROM (SELECT DISTINCT DeviceId FROM seen), \
                generate_series(TIMESTAMPTZ '2026-01-01 00:00Z', TIMESTAMPTZ '2026-01-30 23:45Z', INTERVAL 15 minutes) s(bin)) \
              SELECT DeviceId, bin, fill(t) OVER (PARTITION BY DeviceId ORDER BY bin) FROM grid LEFT JOIN seen USING (DeviceId, bin)",
    },
    Question {
        name: "percentiles by model",
        kql: "Telemetry | summarize percentiles(temperature, 50, 95, 99) by Model",
        sql: "SELECT Model, approx_quantile(temperature, [0.5, 0.95, 0.99]) FROM Telemetry GROUP BY Model",
    },
    Question {
        name: "join with devices",
        kql: "Telemetry | lookup kind=inner (Devices | where Critical) on DeviceId \
              | summarize avg(temperature), count() by Firmware",
        sql: "SELECT Firmware, avg(temperature), count(*) FROM Telemetry JOIN Devices USING (DeviceId) WHERE Critical \
              GROUP BY Firmware",
    },
    Question {
        name: "distinct devices by hour",
        kql: "Telemetry | summarize dcount(DeviceId) by bin(EnqueuedTime, 1h)",
        sql: "SELECT time_bucket(INTERVAL 1 hour, EnqueuedTime) AS hour, approx_count_distinct(DeviceId) FROM Telemetry \
              GROUP BY ALL",
    },
    Question {
        name: "text in bodies",
        kql: "Telemetry | where Body contains_cs 'bearing' | summarize count() by Site",
        sql: "SELECT Site, count(*) FROM Telemetry WHERE contains(Body, 'bearing') GROUP BY Site",
    },
    Question {
        name: "sessions",
        kql: "Telemetry | where Site == 'site-03' | project DeviceId, EnqueuedTime, rpm | sort by DeviceId asc, EnqueuedTime asc \
              | extend start = row_window_session(EnqueuedTime, 1d, 3h, DeviceId != prev(DeviceId)) \
              | summarize count(), avg(rpm) by DeviceId, start | summarize count(), max(count_)",
        sql: "WITH s AS (SELECT DeviceId, rpm, EnqueuedTime, CASE WHEN EnqueuedTime - lag(EnqueuedTime) OVER w > INTERVAL 3 hours \
                THEN 1 ELSE 0 END AS fresh FROM Telemetry WHERE Site = 'site-03' WINDOW w AS (PARTITION BY DeviceId ORDER BY EnqueuedTime)), \
              n AS (SELECT DeviceId, rpm, sum(fresh) OVER (PARTITION BY DeviceId ORDER BY EnqueuedTime) AS session FROM s), \
              g AS (SELECT count(*) AS c, avg(rpm) FROM n GROUP BY DeviceId, session) SELECT count(*), max(c) FROM g",
    },
    Question {
        name: "a series of each device",
        kql: "Telemetry | make-series t = avg(temperature) default = 0.0 \
              on EnqueuedTime from datetime(2026-01-01) to datetime(2026-01-31) step 6h by DeviceId",
        sql: "SELECT DeviceId, list(t ORDER BY hour) FROM (SELECT DeviceId, time_bucket(INTERVAL 6 hours, EnqueuedTime) AS hour, \
                avg(temperature) AS t FROM Telemetry GROUP BY ALL) GROUP BY DeviceId",
    },
];
