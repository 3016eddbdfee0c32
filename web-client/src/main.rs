//! The Counterfoil app: views over one [`port::Client`], which hides engine, socket and stores.
//!
//! `port` is the only thing that views and driver share. Nothing here decides anything about
//! messages: views show rows and hand on what a person did.

// With the feature, the page is the store contract's and there is no app in it.
#![cfg_attr(feature = "contract", allow(dead_code))]

mod app;
mod driver;
mod i18n;
mod port;
mod update;
mod view;

fn main() {
    console_error_panic_hook::set_once();
    #[cfg(feature = "contract")]
    driver::contract::offer();
    #[cfg(not(feature = "contract"))]
    leptos::mount::mount_to_body(app::App);
}
