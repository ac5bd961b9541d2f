//! Kinds of tiles and their members, as the preview publishes them.
//!
//! `command` is published twice, with a group and without; the group is optional here.

use crate::shape::{Member, Shape, needed, optional};

/// Characters of a name, a path or an id; ours.
const TEXT: usize = 1_024;
/// Characters of a text to be read, and of a picture in it; ours.
const LONG: usize = 128 * 1_024;
/// Devices of a tile; ours.
const DEVICES_MAX: usize = 500;
/// Capabilities of a tile; ours.
const CAPABILITIES_MAX: usize = 100;

const NAME: Shape = Shape::Text(1, TEXT);
const NUMBER: Shape = Shape::Number(f64::MIN, f64::MAX);
const INTEGER: Shape = Shape::Integer(i32::MIN as i64, i32::MAX as i64);

const CAPABILITY: Shape = Shape::Object(&[
    needed("capability", NAME),
    needed("aggregateFunction", Shape::Word(&["sum", "count", "max", "min", "avg"])),
]);
const TIME: &[Member] = &[
    needed("duration", Shape::Word(&["PT30M", "PT1H", "PT12H", "P1D", "P1W", "P30D"])),
    optional("resolution", Shape::Word(&["PT1M", "PT5M", "PT10M", "PT30M", "PT1H", "PT12H", "P1D", "P1W"])),
];
const COUNT: &[Member] = &[needed("count", Shape::Integer(100, 100))];
const TIME_RANGE: Shape = Shape::Kind(&[("time", TIME)]);
const ANY_RANGE: Shape = Shape::Kind(&[("time", TIME), ("count", COUNT)]);
const UNIT: Shape = Shape::Word(&["pt"]);
const CHART: Shape = Shape::Object(&[
    optional("xAxisEnabled", Shape::Flag),
    optional("yAxisEnabled", Shape::Flag),
    optional("legendEnabled", Shape::Flag),
]);
const TEXT_FORMAT: Shape = Shape::Object(&[
    optional("abbreviateValue", Shape::Flag),
    optional("decimalPlaces", INTEGER),
    optional("textSize", NUMBER),
    optional("unit", UNIT),
    optional("wordWrap", Shape::Flag),
]);
const IMAGE_FORMAT: Shape = Shape::Object(&[
    optional("backgroundColor", Shape::Text(0, TEXT)),
    optional("fitImage", Shape::Flag),
    optional("textColor", Shape::Text(0, TEXT)),
    optional("textSize", NUMBER),
    optional("textSizeUnit", Shape::Word(&["px"])),
    optional("showTitle", Shape::Flag),
]);

const GROUP: Member = needed("group", NAME);
const DEVICES: Member = needed("devices", Shape::List(&NAME, DEVICES_MAX));
const CAPABILITIES: Member = optional("capabilities", Shape::List(&CAPABILITY, CAPABILITIES_MAX));
const IN_TIME: Member = needed("queryRange", TIME_RANGE);

/// What a configuration may be.
pub(super) const CONFIGURATION: Shape = Shape::Kind(&[
    ("barChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", CHART)]),
    ("lineChart", &[GROUP, DEVICES, CAPABILITIES, needed("queryRange", ANY_RANGE), optional("format", CHART)]),
    ("pieChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", CHART)]),
    ("heatMapChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", CHART)]),
    ("eventChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME]),
    ("eventHistoryChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", TEXT_FORMAT)]),
    ("stateChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME]),
    ("stateHistoryChart", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", TEXT_FORMAT)]),
    ("kpi", &[GROUP, DEVICES, CAPABILITIES, IN_TIME, optional("format", TEXT_FORMAT)]),
    ("lkv", &[GROUP, DEVICES, CAPABILITIES, optional("showTrend", Shape::Flag), optional("format", TEXT_FORMAT)]),
    ("property", &[GROUP, DEVICES, CAPABILITIES, optional("format", TEXT_FORMAT)]),
    ("mapProperty", &[GROUP, DEVICES, CAPABILITIES, optional("zoomLevel", Shape::Number(0.0, 24.0))]),
    ("mapTelemetry", &[GROUP, DEVICES, CAPABILITIES, optional("zoomLevel", Shape::Number(0.0, 24.0))]),
    ("command", &[needed("device", NAME), needed("command", NAME), optional("group", NAME)]),
    ("dataExplorer", &[IN_TIME, optional("query", NAME)]),
    ("deviceCount", &[optional("group", NAME), optional("format", TEXT_FORMAT)]),
    ("externalContent", &[needed("sourceUrl", Shape::HttpsUrl)]),
    (
        "image",
        &[optional("image", Shape::Text(0, LONG)), optional("href", Shape::Link), optional("format", IMAGE_FORMAT)],
    ),
    (
        "label",
        &[
            needed("text", Shape::Text(1, LONG)),
            optional("textSize", NUMBER),
            optional("textSizeUnit", UNIT),
            optional("wordWrap", Shape::Flag),
        ],
    ),
    (
        "markdown",
        &[
            needed("description", Shape::Text(0, LONG)),
            optional("href", Shape::Link),
            optional("image", Shape::Text(0, LONG)),
        ],
    ),
]);

/// What a tile may be. Its id is the service's and comes back in what a client read.
pub(super) const TILE: Shape = Shape::Object(&[
    optional("id", NAME),
    needed("displayName", Shape::Text(0, TEXT)),
    needed("configuration", CONFIGURATION),
    needed("height", Shape::Number(1.0, 10.0)),
    needed("width", Shape::Number(1.0, 10.0)),
    needed("x", Shape::Number(0.0, 100.0)),
    needed("y", Shape::Number(0.0, 100.0)),
]);
