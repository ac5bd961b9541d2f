//! What each published role may do, as a table to be reviewed.

use std::fmt::Write as _;

use gantry_central::access::permissions::Permission;
use gantry_central::access::roles::built_in;

#[test]
fn published_roles_may_do_what_the_table_says() {
    let mut table = String::new();
    for role in built_in() {
        writeln!(table, "{} {} ({:?})", role.id, role.display_name, role.kind).unwrap();
    }
    table.push('\n');
    for one in Permission::ALL {
        let marks = built_in().iter().map(|role| if role.permissions.contains(*one) { 'x' } else { '-' });
        writeln!(table, "{} {:<36} {:?}", marks.collect::<String>(), one.word(), one.level()).unwrap();
    }
    let folder = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    gantry_golden::check(&folder.join("roles.txt"), table.as_bytes());
}
