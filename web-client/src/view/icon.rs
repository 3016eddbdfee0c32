//! The drawn signs. Each is hidden from assistive technology: the text beside it speaks.

use leptos::prelude::*;

/// A sign.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    Back,
    Clock,
    Check,
    Checks,
    Alert,
    Send,
    Down,
    Plus,
    SignOut,
    Trash,
}

impl Icon {
    /// Strokes within 24 × 24.
    fn path(self) -> &'static str {
        match self {
            Self::Back => "M15 5l-7 7 7 7",
            Self::Clock => "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 7.5V12l3 2",
            Self::Check => "M5 12.5l4.5 4.5L19 7",
            Self::Checks => "M2 12.5L6.5 17 15 7.5M11 16l1 1 10-10.5",
            Self::Alert => "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 7.5v5.5M12 16.2v.3",
            Self::Send => "M4 12l16-8-5.5 16-3-6.5zM11.5 13.5L20 4",
            Self::Down => "M5 9l7 7 7-7",
            Self::Plus => "M12 5v14M5 12h14",
            Self::Trash => "M5 7h14M9.5 7V4.5h5V7M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
            Self::SignOut => "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
        }
    }
}

/// Draws a sign in the text's colour.
#[component]
pub fn Sign(icon: Icon) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path d=icon.path() />
        </svg>
    }
}
