//! The reference page of settings says what the table says.
#![cfg(test)]

use std::path::Path;

#[test]
fn the_settings_page_is_fresh() {
    let page = Path::new("../../docs/settings.md");
    let fresh = bireme_settings::markdown();
    if bireme_settings::environment("BIREME_REGENERATE").is_some() {
        std::fs::write(page, &fresh).unwrap();
    }
    let written = std::fs::read_to_string(page).unwrap_or_default();
    assert!(
        written == fresh,
        "docs/settings.md is stale: run the tests of bireme-settings with BIREME_REGENERATE=1"
    );
}
