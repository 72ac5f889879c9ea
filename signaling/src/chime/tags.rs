//! TagResource, UntagResource, ListTagsForResource: one path for both services, told apart by what the ARN names.

use std::collections::HashSet;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{Draft, EventType};
use crate::chime::call::{Answer, Call, Outcome, no_such_operation};
use crate::chime::error::{Fault, Kind, Service};
use crate::chime::names::{MeetingId, PipelineId, Resource};
use crate::chime::store::{self, Tags};
use crate::chime::{check, pipelines};
use crate::db::{self, Tx};
use crate::ids::VisitId;

/// Tags of one resource at most.
const MOST: usize = 50;

/// One tag as it travels.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TagBody {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
    tags: Option<Vec<Tag>>,
    tag_keys: Option<Vec<String>>,
}

impl Tag {
    pub(crate) fn into_pair(self) -> (String, String) {
        (self.key, self.value)
    }
}

/// What tags are of.
#[derive(Clone, Copy, Debug)]
enum Tagged {
    Meeting(MeetingId),
    Pipeline(PipelineId),
}

/// Checks keys and values of one request.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn check(tags: &[Tag]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for tag in tags {
        check::length("Tags.Key", &tag.key, 1, 128)?;
        check::length("Tags.Value", &tag.value, 0, 256)?;
        if tag.key.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("aws:")) {
            return Err(Kind::BadRequest.with("Tags.Key must not begin with aws:"));
        }
        if !seen.insert(tag.key.as_str()) {
            return Err(Kind::BadRequest.with("Tags has the same key twice"));
        }
    }
    Ok(())
}

/// Puts new tags to those that are there; the same key again has the new value.
///
/// # Errors
/// `BadRequest`; `TooManyTags`.
pub(crate) fn merge(there: &Tags, new: Vec<Tag>) -> Result<Tags, Fault> {
    check::count("Tags", &new, 0, MOST)?;
    check(&new)?;
    let mut tags = there.clone();
    tags.extend(new.into_iter().map(|tag| (tag.key, tag.value)));
    if tags.len() > MOST {
        return Err(Kind::TooManyTags.with("A resource has at most 50 tags"));
    }
    Ok(tags)
}

fn view(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

/// The operation that method and parameter name, and the service whose resource it is about.
pub(crate) async fn serve(call: &Call, method: &Method) -> (Service, Outcome) {
    let operation = check::parameter(&call.query, "operation");
    let arn = match method.as_str() {
        "GET" => Ok(check::parameter(&call.query, "arn")),
        _ => check::body::<TagBody>(&call.body).map(|body| body.resource_arn),
    };
    let arn = match arn.and_then(|arn| check::required("ResourceARN", arn)) {
        Ok(arn) => arn,
        Err(fault) => return (Service::Meetings, Err(fault)),
    };
    let (service, tagged) = match Resource::parse(&arn, call.org) {
        Some(Resource::Meeting(meeting)) => (Service::Meetings, Tagged::Meeting(meeting)),
        Some(Resource::Pipeline(pipeline)) => (Service::Pipelines, Tagged::Pipeline(pipeline)),
        None if !arn.starts_with("arn:") => {
            return (Service::Meetings, Err(Kind::BadRequest.with("ResourceARN must be an ARN")));
        }
        None => {
            let missing = Kind::ResourceNotFound.with("There is no such resource").resource(&arn);
            return (Service::Meetings, Err(missing));
        }
    };
    let outcome = match (method.as_str(), operation.as_deref()) {
        ("POST", Some("tag-resource")) => tag(call, tagged, &arn).await,
        ("POST", Some("untag-resource")) => untag(call, tagged, &arn).await,
        ("GET", None) => list(call, tagged, &arn).await,
        _ => Err(no_such_operation()),
    };
    (service, outcome)
}

/// The tags of what lives, and the visit that it belongs to.
async fn require(tx: &mut Tx, call: &Call, tagged: Tagged, arn: &str) -> Result<(Tags, VisitId), Fault> {
    match tagged {
        Tagged::Meeting(meeting) => {
            let missing = || Kind::ResourceNotFound.with("There is no such meeting, or it has ended").resource(arn);
            let found = store::find(tx, meeting).await?.ok_or_else(missing)?;
            Ok((found.tags, found.visit))
        }
        Tagged::Pipeline(pipeline) => {
            let found = pipelines::require_tagged(tx, pipeline, arn, call.app.now()).await?;
            Ok((found.tags, found.visit))
        }
    }
}

async fn tag(call: &Call, tagged: Tagged, arn: &str) -> Outcome {
    let body: TagBody = check::body(&call.body)?;
    let new = check::required("Tags", body.tags)?;
    check::count("Tags", &new, 1, MOST)?;
    change(call, tagged, arn, |there| merge(there, new).map_err(|fault| name(fault, arn))).await
}

async fn untag(call: &Call, tagged: Tagged, arn: &str) -> Outcome {
    let body: TagBody = check::body(&call.body)?;
    let keys = check::required("TagKeys", body.tag_keys)?;
    check::count("TagKeys", &keys, 1, MOST)?;
    change(call, tagged, arn, |there| {
        Ok(there
            .iter()
            .filter(|(key, _)| !keys.contains(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    })
    .await
}

fn name(fault: Fault, arn: &str) -> Fault {
    if fault.kind == Kind::TooManyTags { fault.resource(arn) } else { fault }
}

async fn change(call: &Call, tagged: Tagged, arn: &str, change: impl FnOnce(&Tags) -> Result<Tags, Fault>) -> Outcome {
    db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        if let Tagged::Meeting(meeting) = tagged {
            store::lock(tx, meeting).await?;
        }
        let (there, visit) = require(tx, call, tagged, arn).await?;
        let tags = change(&there)?;
        let draft = Draft::new(EventType::ConfigChanged).visit(visit);
        let draft = match tagged {
            Tagged::Meeting(meeting) => {
                store::set_tags(tx, meeting, &tags).await?;
                draft.subject("meeting", meeting)
            }
            Tagged::Pipeline(pipeline) => {
                pipelines::store::set_tags(tx, pipeline, &tags).await?;
                draft.subject("pipeline", pipeline)
            }
        };
        Ok::<_, Fault>(((), vec![draft.because("TAGS_CHANGED")]))
    })
    .await?;
    Ok(Answer::NoContent)
}

async fn list(call: &Call, tagged: Tagged, arn: &str) -> Outcome {
    let (tags, _) = db::scoped(&call.app.db, call.org, async |tx| require(tx, call, tagged, arn).await).await?;
    Ok(Answer::Ok(json!({ "Tags": view(&tags) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(keys: impl IntoIterator<Item = String>) -> Vec<Tag> {
        keys.into_iter().map(|key| Tag { key, value: "v".to_owned() }).collect()
    }

    #[test]
    fn fifty_and_no_more() {
        let there = merge(&Tags::new(), tags((0..50).map(|n| n.to_string()))).unwrap();
        assert_eq!(merge(&there, tags(["49".to_owned()])).unwrap().len(), 50);
        assert_eq!(merge(&there, tags(["50".to_owned()])).unwrap_err().kind, Kind::TooManyTags);
        assert_eq!(merge(&Tags::new(), tags((0..51).map(|n| n.to_string()))).unwrap_err().kind, Kind::BadRequest);
    }

    #[test]
    fn keys_are_bounded_and_each_comes_once() {
        for bad in [vec![String::new()], vec!["x".repeat(129)], vec!["aws:x".to_owned()], vec!["a".to_owned(); 2]] {
            assert_eq!(merge(&Tags::new(), tags(bad)).unwrap_err().kind, Kind::BadRequest);
        }
        let long = vec![Tag { key: "k".to_owned(), value: "x".repeat(257) }];
        assert_eq!(merge(&Tags::new(), long).unwrap_err().kind, Kind::BadRequest);
    }
}
