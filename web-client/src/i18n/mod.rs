//! Every text a person reads, in Chinese and English.
//!
//! A language is one value of [`Texts`]: a text that a table lacks does not compile, and views
//! hold no literals. Decision: a struct rather than `leptos_i18n`. Two languages and some hundred
//! texts need no build script, no macro and no formatter; plurals are functions, and times and
//! dates come from the browser's `Intl` ([`time`]).

mod en;
mod texts;
pub mod time;
mod zh;

use leptos::prelude::*;
pub use texts::Texts;

const STORAGE_KEY: &str = "language";

/// A language the app speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lang {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// Its BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Zh => Self::En,
            Self::En => Self::Zh,
        }
    }

    /// Its table.
    pub fn texts(self) -> &'static Texts {
        match self {
            Self::Zh => &zh::ZH,
            Self::En => &en::EN,
        }
    }

    fn preferred() -> Self {
        let stored = storage().and_then(|storage| storage.get_item(STORAGE_KEY).ok().flatten());
        let wanted = stored.or_else(|| window().navigator().language()).unwrap_or_default();
        if wanted.starts_with("zh") { Self::Zh } else { Self::En }
    }
}

fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}

/// Makes the language available to every view below, and keeps the page's own `lang` and the
/// stored choice in step with it.
pub fn provide() {
    let lang = RwSignal::new(Lang::preferred());
    provide_context(lang);
    Effect::new(move |previous: Option<()>| {
        let lang = lang.get();
        document().set_title(lang.texts().app_name);
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("lang", lang.tag());
        }
        if previous.is_some()
            && let Some(storage) = storage()
        {
            let _ = storage.set_item(STORAGE_KEY, lang.tag());
        }
    });
}

/// The language chosen; set it to change every text at once.
pub fn lang() -> RwSignal<Lang> {
    expect_context()
}

/// The table of the language chosen, tracked.
pub fn texts() -> Signal<&'static Texts> {
    let lang = lang();
    Signal::derive(move || lang.get().texts())
}

/// One text, tracked: `tr(|t| t.send)`.
pub fn tr(pick: fn(&'static Texts) -> &'static str) -> Signal<&'static str> {
    let lang = lang();
    Signal::derive(move || pick(lang.get().texts()))
}
