//! A round sign for an account: its initial on a colour of its own.

use leptos::prelude::*;
use shared::jid::BareJid;

/// Colour classes `tone-0` … in `style/app.css`.
const TONES: u32 = 12;

/// The avatar of an account that has no picture. The name stands beside it, so it is hidden from
/// assistive technology.
#[component]
pub fn Avatar(jid: BareJid) -> impl IntoView {
    let class = format!("avatar tone-{}", tone(jid.as_str()));
    view! {
        <span class=class aria-hidden="true">
            {initial(jid.as_str())}
        </span>
    }
}

fn initial(name: &str) -> String {
    name.chars().next().map_or(String::new(), |first| first.to_uppercase().collect())
}

/// FNV-1a: the same colour on every device.
fn tone(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        % TONES
}
