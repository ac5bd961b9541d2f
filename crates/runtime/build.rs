//! The page is built by npm into `web/dist` and embedded. Where it was not built, a page that
//! says so stands in, so that everything else can be built and tested without Node.

use std::fs;
use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html><meta charset=\"utf-8\"><title>Gantry</title>\
<p>This binary was built without its page. Run <code>make web</code>, then build it again.</p>\n";

fn main() {
    let dist = Path::new("../../web/dist");
    if !dist.join("index.html").exists() {
        fs::create_dir_all(dist).expect("web/dist can be made");
        fs::write(dist.join("index.html"), PLACEHOLDER).expect("web/dist can be written");
        println!("cargo::warning=web/dist is empty: the binary gets a placeholder page; run `make web`");
    }
    println!("cargo::rerun-if-changed=../../web/dist");
}
