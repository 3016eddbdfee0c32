//! What a person sees. Small components over one [`session::Session`]; every text comes from
//! [`crate::i18n`], every colour and measure from `style/`.

mod avatar;
mod back;
mod composer;
mod conversation;
mod history;
mod icon;
pub mod main;
mod message;
pub mod notice;
pub mod session;
mod sidebar;
pub mod sign_in;
mod timeline;
pub mod update;
