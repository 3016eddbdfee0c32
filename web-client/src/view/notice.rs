//! What a person is told when something stands between them and their messages.

use super::icon::{Icon, Sign};
use super::session::reload;
use crate::i18n::{Texts, tr};
use crate::port::StoreFault;
use leptos::prelude::*;

type Pick = fn(&'static Texts) -> &'static str;

/// The stores could not be opened: nothing can be shown but why.
#[component]
pub fn StorePage(fault: StoreFault) -> impl IntoView {
    let text: Pick = match fault {
        StoreFault::Unavailable => |t| t.store_unavailable,
        StoreFault::Full => |t| t.store_full,
        StoreFault::NewerVersion => |t| t.store_newer_version,
        StoreFault::Broken => |t| t.store_broken,
    };
    view! {
        <main class="page">
            <Card text with_reload=true />
        </main>
    }
}

/// The stores fail while they are in use. What was written since is in this tab's memory, so
/// only the fault that nothing else ends offers to reload.
#[component]
pub fn StoreNotice(fault: StoreFault) -> impl IntoView {
    let text: Pick = match fault {
        StoreFault::NewerVersion => |t| t.store_newer_version,
        StoreFault::Full => |t| t.store_full_here,
        StoreFault::Unavailable | StoreFault::Broken => |t| t.store_trying_here,
    };
    view! { <Card text with_reload=fault == StoreFault::NewerVersion /> }
}

#[component]
fn Card(text: Pick, with_reload: bool) -> impl IntoView {
    let button = move || view! { <button class="button" on:click=|_| reload()>{tr(|t| t.reload)}</button> };
    view! {
        <section class="notice notice-fault" role="alert" data-testid="store-fault">
            <Sign icon=Icon::Alert />
            <div>
                <h2>{tr(|t| t.store_title)}</h2>
                <p>{tr(text)}</p>
            </div>
            {with_reload.then(button)}
        </section>
    }
}
