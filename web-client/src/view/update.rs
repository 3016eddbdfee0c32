//! A calm offer of the new version. It floats: nothing moves when it comes.

use crate::i18n::tr;
use crate::update::Update;
use leptos::prelude::*;

/// Shown while a newer version is ready.
#[component]
pub fn UpdateNotice(update: Update) -> impl IntoView {
    view! {
        <Show when=move || update.ready.get()>
            <div class="notice notice-update" role="status">
                <p>{tr(|t| t.update_available)}</p>
                <button class="button" on:click=move |_| update.apply()>
                    {tr(|t| t.reload)}
                </button>
            </div>
        </Show>
    }
}
