//! The way to the blob store, which has one mailbox's segments under their names: the R2 bucket
//! `COLD`, or, where there is no R2, an object of its own for each account (`segments`).
//!
//! What became of a call that failed or took too long is not known, and that is what is answered:
//! a put that may still arrive is not stored, a get is not missing.

use crate::calls::in_time;
use shared::cold::SegmentFault;
use worker::{Bucket, Env, Error, Method, Request, RequestInit, Response, Result, Stub, console_warn};

/// One mailbox's segments.
pub enum Blobs {
    /// In R2.
    Bucket(Bucket),
    /// In an object next to the mailbox.
    Object(Stub),
}

impl Blobs {
    /// Where this account's are, if there is anything.
    pub fn of(env: &Env, account: &str) -> Option<Self> {
        if let Ok(bucket) = env.bucket("COLD") {
            return Some(Self::Bucket(bucket));
        }
        let stub = env.durable_object("SEGMENTS").ok()?.get_by_name(account).ok()?;
        Some(Self::Object(stub))
    }
}

/// Keeps bytes under a name. Returns whether they are stored.
pub async fn put(blobs: Option<Blobs>, name: &str, bytes: Vec<u8>) -> bool {
    let put = async {
        match blobs.ok_or("there is no blob store")? {
            Blobs::Bucket(bucket) => {
                let length = bytes.len() as u64;
                let stored = bucket.put(name, bytes).execute().await?.map(|object| object.size());
                if stored == Some(length) { Ok(()) } else { Err(Error::from("it was not stored whole")) }
            }
            Blobs::Object(stub) => ask(&stub, Method::Put, name, Some(&bytes)).await.map(|_| ()),
        }
    };
    in_time(put).await.inspect_err(|error| console_warn!("{name} is not stored: {error}")).is_ok()
}

/// What is under a name.
pub async fn get(blobs: Option<Blobs>, name: &str) -> std::result::Result<Vec<u8>, SegmentFault> {
    let get = async {
        match blobs.ok_or("there is no blob store")? {
            Blobs::Bucket(bucket) => match bucket.get(name).execute().await? {
                Some(object) => object.body().ok_or("it has no body")?.bytes().await.map(Some),
                None => Ok(None),
            },
            Blobs::Object(stub) => match ask(&stub, Method::Get, name, None).await? {
                Some(mut response) => response.bytes().await.map(Some),
                None => Ok(None),
            },
        }
    };
    match in_time(get).await {
        Ok(found) => found.ok_or(SegmentFault::Missing),
        Err(error) => {
            console_warn!("{name} cannot be read: {error}");
            Err(SegmentFault::Unreachable)
        }
    }
}

/// Lets go what is under a name. Returns whether there is nothing there now.
pub async fn delete(blobs: Option<Blobs>, name: &str) -> bool {
    let delete = async {
        match blobs.ok_or("there is no blob store")? {
            Blobs::Bucket(bucket) => bucket.delete(name).await,
            Blobs::Object(stub) => ask(&stub, Method::Delete, name, None).await.map(|_| ()),
        }
    };
    in_time(delete).await.inspect_err(|error| console_warn!("{name} is not deleted: {error}")).is_ok()
}

/// `None` for what is not there.
async fn ask(stub: &Stub, method: Method, name: &str, body: Option<&[u8]>) -> Result<Option<Response>> {
    let mut init = RequestInit::new();
    init.with_method(method).with_body(body.map(|bytes| js_sys::Uint8Array::from(bytes).into()));
    let request = Request::new_with_init("http://segments/", &init)?;
    request.headers().set("Segment", &String::from(js_sys::encode_uri_component(name)))?;
    let response = stub.fetch_with_request(request).await?;
    match response.status_code() {
        200 | 204 => Ok(Some(response)),
        404 => Ok(None),
        status => Err(Error::from(format!("status {status}"))),
    }
}
