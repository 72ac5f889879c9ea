//! A route: where it is, who may use it, what it takes and answers. [`crate::router`] lists them all; what is declared there is enforced
//! here before a handler runs, and is what the OpenAPI document says.

pub mod openapi;
pub(crate) mod page;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};

use crate::app::App;
use crate::auth::Permission;
use crate::auth::extract::{Caller, StaffCaller};
use crate::error::Result;
use crate::problem::Code;

/// Who may use a route. Whether a caller reaches the record in question is the handler's to ask: `Actor::require_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody. Such a route counts its failures or does nothing that could be abused.
    Public,
    /// Whoever proves themselves by a signature in the request, which the handler checks.
    Signed,
    /// Whoever has a credential that holds, of any role.
    Caller,
    /// Whoever has a credential of staff, of any role.
    Staff,
    /// Whoever's role has the permission.
    Needs(Permission),
}

/// Writes a type's schema.
type Describe = fn(&mut SchemaGenerator) -> Schema;

/// What a route answers when it succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Content,
}

/// What a body holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Nothing.
    Empty,
    /// JSON of this schema.
    Json(Describe),
    /// Something else.
    Other(&'static str),
}

/// What a route takes as its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    pub(crate) body: Describe,
    pub(crate) is_optional: bool,
}

/// One route of the service.
#[derive(Debug)]
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path, with `{parameters}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: MethodRouter<App>,
    pub(crate) summary: &'static str,
    pub(crate) takes: Option<Takes>,
    pub(crate) query: Option<Describe>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) refuses: Vec<Code>,
}

macro_rules! methods {
    ($($name:ident = $method:ident,)*) => {
        $(
            #[doc = concat!("A route for `", stringify!($method), "`.")]
            pub fn $name<H, T>(path: &'static str, access: Access, handler: H) -> Endpoint
            where
                H: Handler<T, App>,
                T: 'static,
            {
                Endpoint::new(Method::$method, path, access, on(MethodFilter::$method, handler))
            }
        )*
    };
}

methods! {
    get = GET,
    post = POST,
    put = PUT,
    patch = PATCH,
    delete = DELETE,
}

impl Endpoint {
    fn new(method: Method, path: &'static str, access: Access, handler: MethodRouter<App>) -> Self {
        Self {
            method,
            path,
            access,
            handler,
            summary: "",
            takes: None,
            query: None,
            headers: Vec::new(),
            answers: Vec::new(),
            refuses: Vec::new(),
        }
    }

    /// What it is for, in a few words.
    #[must_use]
    pub const fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Its JSON body.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(Takes { body: SchemaGenerator::subschema_for::<T>, is_optional: false });
        self
    }

    /// Its JSON body, which may be left out altogether.
    #[must_use]
    pub fn may_take<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(Takes { body: SchemaGenerator::subschema_for::<T>, is_optional: true });
        self
    }

    /// Its query parameters: a struct whose fields are those.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(SchemaGenerator::root_schema_for::<T>);
        self
    }

    /// A request header that it heeds.
    #[must_use]
    pub fn header(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.headers.push((name, meaning));
        self
    }

    /// An answer of success with a JSON body.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16) -> Self {
        self.gives(status, Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// An answer of success without a body.
    #[must_use]
    pub fn answers_nothing(self, status: u16) -> Self {
        self.gives(status, Content::Empty)
    }

    /// An answer of success that is not JSON.
    #[must_use]
    pub fn answers_with(self, status: u16, media_type: &'static str) -> Self {
        self.gives(status, Content::Other(media_type))
    }

    fn gives(mut self, status: u16, body: Content) -> Self {
        self.answers.push(Answer { status, body });
        self
    }

    /// Refusals beside those that every route of its kind has.
    #[must_use]
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.refuses.extend_from_slice(codes);
        self
    }
}

/// Puts the routes into a router, each behind its declared access.
pub(crate) fn mount(app: &App, endpoints: Vec<Endpoint>) -> Router<App> {
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        let guard = from_fn_with_state((app.clone(), endpoint.access), enforce);
        router.route(endpoint.path, endpoint.handler.layer(guard))
    })
}

/// Lets a request through to its handler when its route's access allows the caller. The caller is found once: the handler's own
/// `Caller` takes who was found here.
async fn enforce(State((app, access)): State<(App, Access)>, request: Request, next: Next) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    match access {
        Access::Public | Access::Signed => {}
        Access::Caller => {
            let caller = Caller::from_request_parts(&mut parts, &app).await?;
            parts.extensions.insert(caller);
        }
        Access::Staff => drop(StaffCaller::from_request_parts(&mut parts, &app).await?),
        Access::Needs(permission) => {
            let caller = Caller::from_request_parts(&mut parts, &app).await?;
            caller.0.require(permission)?;
            parts.extensions.insert(caller);
        }
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}
