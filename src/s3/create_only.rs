//! Adds the condition `If-None-Match: *` to uploads in parts.

use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Makes HTTP clients that add `If-None-Match: *` to the request that completes an upload in parts. `object_store` has
/// no option for this. The header need not be signed.
#[derive(Debug, Default)]
pub(super) struct CreateOnly(ReqwestConnector);

#[derive(Debug)]
struct CreateOnlyService(HttpClient);

impl HttpConnector for CreateOnly {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(CreateOnlyService(self.0.connect(options)?)))
    }
}

impl HttpService for CreateOnlyService {
    fn call<'life, 'call>(
        &'life self,
        mut request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'life: 'call,
        Self: 'call,
    {
        let completes = request.method().as_str() == "POST"
            && request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("uploadId=")));
        if let (true, Ok(any)) = (completes, "*".parse()) {
            request.headers_mut().insert("if-none-match", any);
        }
        Box::pin(self.0.execute(request))
    }
}
