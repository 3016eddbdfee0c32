//! The Counterfoil app: views over one [`port::Client`], which hides engine, socket and stores.
//!
//! `port` is the only thing that views and driver share. Nothing here decides anything about
//! messages: views show rows and hand on what a person did.

mod app;
mod driver;
mod i18n;
mod port;
mod update;
mod view;

fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
}
