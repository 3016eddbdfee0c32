//! What a person is told when something stands between them and their messages.

use super::icon::{Icon, Sign};
use super::session::reload;
use crate::i18n::{Texts, tr};
use crate::port::StoreFault;
use leptos::prelude::*;

/// The stores cannot be used. As a full page, or above one that still shows what was read.
#[component]
pub fn StoreNotice(fault: StoreFault, #[prop(optional)] full_page: bool) -> impl IntoView {
    let text = |fault| -> fn(&'static Texts) -> &'static str {
        match fault {
            StoreFault::Unavailable => |t| t.store_unavailable,
            StoreFault::Full => |t| t.store_full,
            StoreFault::NewerVersion => |t| t.store_newer_version,
            StoreFault::Broken => |t| t.store_broken,
        }
    };
    let card = view! {
        <section class="notice notice-fault" role="alert">
            <Sign icon=Icon::Alert />
            <div>
                <h2>{tr(|t| t.store_title)}</h2>
                <p>{tr(text(fault))}</p>
            </div>
            <button class="button" on:click=|_| reload()>
                {tr(|t| t.reload)}
            </button>
        </section>
    };
    if full_page { view! { <main class="page">{card}</main> }.into_any() } else { card.into_any() }
}
