//! Tokens of an issuer on loopback, which counts what it is asked for.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// A key of the issuer.
enum Signing {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signing {
    fn ecdsa() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signing::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signing::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Signing::Ecdsa(_) => "ES256",
            Signing::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signing::Ecdsa(key) => {
                key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Signing::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Signing::Ecdsa(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig"})
            }
            Signing::Ed25519(key) => {
                let x = encode(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id})
            }
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": id});
        token(&header, claims, |message| self.sign(message))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
    let message = format!("{header}.{claims}");
    let signature = encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer that answers with its keys.
struct Server {
    url: String,
    keys: Arc<std::sync::Mutex<Value>>,
    /// How often it was asked for its keys.
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(std::sync::Mutex::new(keys));
        let asked = Arc::new(AtomicUsize::new(0));
        let (issuer, shown, count) = (url.clone(), Arc::clone(&keys), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let len = stream.read(&mut request).await.unwrap();
                let body = if request[..len].starts_with(b"GET /.well-known/") {
                    json!({
                        "issuer": issuer,
                        "jwks_uri": format!("{issuer}/keys"),
                        "id_token_signing_alg_values_supported": ["ES256", "EdDSA", "HS256"],
                    })
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                    shown.lock().unwrap().clone()
                };
                let body = body.to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        Server { url, keys, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn provider(&self) -> Provider {
        let audience = "otlp".to_owned();
        Provider { issuer_url: self.url.clone(), audience, ..Provider::default() }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": ["other", "otlp"], "sub": "ann", "exp": now() + 600})
    }
}

fn open(providers: Vec<Provider>) -> Arc<dyn ServerAuthenticator> {
    ServerAuth::open(&Config { providers, ..Config::default() }).unwrap()
}

async fn ask(server: &Arc<dyn ServerAuthenticator>, token: &str) -> Result<Identity, String> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    headers.insert(http::header::AUTHORIZATION, value);
    let credentials = Credentials { headers: &headers, parameters: &[], peer: None };
    server.authenticate(credentials).await.map_err(|denied| match denied {
        Denied::Unauthenticated(why) => why.into_owned(),
        Denied::Unavailable(why) => format!("unavailable: {why}"),
    })
}

#[tokio::test]
async fn tokens_of_the_issuer_are_taken_and_others_are_not() {
    let (key, edwards, stranger) = (Signing::ecdsa(), Signing::ed25519(), Signing::ecdsa());
    let secret = json!({"kty": "oct", "k": encode(b"secret"), "kid": "secret", "alg": "HS256"});
    let keys = json!({"keys": [key.jwk("a"), edwards.jwk("b"), secret, {"kty": "new"}]});
    let issuer = Server::start(keys).await;
    let server = open(vec![issuer.provider()]);
    Arc::clone(&server).prepare().await;
    assert!(ask(&server, &key.token("a", &issuer.claims())).await.is_ok());
    assert!(ask(&server, &edwards.token("b", &issuer.claims())).await.is_ok());

    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        key.token("a", &claims)
    };
    let without = |name: &str| {
        let mut claims = issuer.claims();
        claims.as_object_mut().unwrap().remove(name);
        key.token("a", &claims)
    };
    let unsigned = |algorithm: &str| {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": "a"});
        token(&header, &issuer.claims(), |_| Vec::new())
    };
    let by_secret = |id: &str, secret: &[u8]| {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": id});
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        token(&header, &issuer.claims(), |message| {
            ring::hmac::sign(&secret, message).as_ref().to_vec()
        })
    };
    let Signing::Ecdsa(public) = &key else { unreachable!() };
    let critical = json!({"alg": "ES256", "kid": "a", "crit": ["x"], "x": 1});
    for (token, why) in [
        (with("exp", json!(now() - 90)), "has expired"),
        (with("nbf", json!(now() + 90)), "not valid yet"),
        (with("aud", json!("other")), "another audience"),
        (with("iss", json!("https://issuer.example")), "another issuer"),
        (without("exp"), "`exp`"),
        (without("aud"), "`aud`"),
        (without("iss"), "`iss`"),
        (with("iss", json!([issuer.url, "https://issuer.example"])), "`iss`"),
        (with("iss", json!([issuer.url])), "`iss`"),
        (stranger.token("a", &issuer.claims()), "not signed by a key"),
        (stranger.token("c", &issuer.claims()), "not signed by a key"),
        (edwards.token("a", &issuer.claims()), "not signed by a key"),
        (unsigned("none"), "malformed"),
        (unsigned("ES256"), "not signed by a key"),
        (by_secret("secret", b"secret"), "shared secret"),
        (by_secret("a", public.public_key().as_ref()), "shared secret"),
        (token(&critical, &issuer.claims(), |message| key.sign(message)), "extensions"),
        ("a.b.c".to_owned(), "malformed"),
        ("x".to_owned(), "malformed"),
        ("x y".to_owned(), "Bearer TOKEN"),
    ] {
        let denied = ask(&server, &token).await.unwrap_err();
        assert!(denied.contains(why), "{denied}, expected {why}");
    }
    for token in [with("exp", json!(now() - 30)), with("nbf", json!(now() + 30))] {
        assert!(ask(&server, &token).await.is_ok(), "clocks differ by a few seconds");
    }
    assert!(ask(&server, &without("sub")).await.is_ok());
}

#[tokio::test]
async fn new_keys_are_fetched_when_a_token_names_one_and_not_for_every_such_token() {
    let (old, new) = (Signing::ecdsa(), Signing::ecdsa());
    let issuer = Server::start(json!({"keys": [old.jwk("old")]})).await;
    let server = open(vec![issuer.provider()]);
    assert!(ask(&server, &old.token("old", &issuer.claims())).await.is_ok());
    assert!(ask(&server, &old.token("old", &issuer.claims())).await.is_ok());
    assert_eq!(issuer.asked(), 1, "keys are kept");
    *issuer.keys.lock().unwrap() = json!({"keys": [new.jwk("new")]});
    assert!(ask(&server, &new.token("new", &issuer.claims())).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    for i in 0..20 {
        let unknown = new.token(&format!("unknown {i}"), &issuer.claims());
        let denied = ask(&server, &unknown).await.unwrap_err();
        assert!(denied.starts_with("unavailable"), "the key may be a new one: {denied}");
    }
    assert!(ask(&server, &old.token("old", &issuer.claims())).await.is_err());
    assert_eq!(issuer.asked(), 2, "anybody can name keys that do not exist");
}

#[tokio::test]
async fn many_first_requests_fetch_the_keys_once() {
    let key = Signing::ecdsa();
    let issuer = Server::start(json!({"keys": [key.jwk("a")]})).await;
    let server = open(vec![issuer.provider()]);
    let token = key.token("a", &issuer.claims());
    let (one, two, three) =
        tokio::join!(ask(&server, &token), ask(&server, &token), ask(&server, &token));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn an_issuer_out_of_reach_is_no_fault_of_the_token() {
    let key = Signing::ecdsa();
    let issuer = Server::start(json!({"keys": "none"})).await;
    let server = open(vec![issuer.provider()]);
    let token = key.token("a", &issuer.claims());
    assert!(ask(&server, &token).await.unwrap_err().starts_with("unavailable"));
    *issuer.keys.lock().unwrap() = json!({"keys": [key.jwk("a")]});
    assert!(ask(&server, &token).await.unwrap_err().starts_with("unavailable"), "not at once");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(ask(&server, &token).await.is_ok());
}

/// Keys change while somebody else has just made skep fetch them: SDKs drop what gets 401.
#[tokio::test]
async fn a_token_of_a_new_key_is_not_refused_for_good_while_fetching_is_held_back() {
    let (old, new) = (Signing::ecdsa(), Signing::ecdsa());
    let issuer = Server::start(json!({"keys": [old.jwk("old")]})).await;
    let server = open(vec![issuer.provider()]);
    let stranger = new.token("stranger", &issuer.claims());
    let denied = ask(&server, &stranger).await.unwrap_err();
    assert!(denied.contains("not signed by a key"), "just fetched: {denied}");
    assert_eq!(issuer.asked(), 2, "at the start, and for the unknown key");
    *issuer.keys.lock().unwrap() = json!({"keys": [new.jwk("new")]});
    let token = new.token("new", &issuer.claims());
    assert!(ask(&server, &token).await.unwrap_err().starts_with("unavailable"));
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    tokio::time::resume();
    assert!(ask(&server, &token).await.is_ok());
    assert_eq!(issuer.asked(), 3);

    *issuer.keys.lock().unwrap() = json!("none");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    tokio::time::resume();
    let token = old.token("old", &issuer.claims());
    for _ in 0..2 {
        let denied = ask(&server, &token).await.unwrap_err();
        assert!(denied.starts_with("unavailable"), "the fetch has failed: {denied}");
    }
    assert_eq!(issuer.asked(), 4);
}

#[tokio::test]
async fn a_fetch_outlasts_the_request_that_began_it() {
    let key = Signing::ecdsa();
    let issuer = Server::start(json!({"keys": [key.jwk("a")]})).await;
    let server = open(vec![issuer.provider()]);
    let token = key.token("a", &issuer.claims());
    let asked = ask(&server, &token);
    assert!(tokio::time::timeout(std::time::Duration::ZERO, asked).await.is_err());
    let fetched = async {
        while issuer.asked() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), fetched).await.unwrap();
    assert!(ask(&server, &token).await.is_ok());
    assert_eq!(issuer.asked(), 1);
}

/// The clock jumps whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn few_wait_for_an_issuer_that_does_not_answer_and_not_for_long() {
    let key = Signing::ecdsa();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let provider = Provider { issuer_url: url, ignore_audience: true, ..Provider::default() };
    let server = open(vec![provider]);
    let token = key.token("a", &json!({"iss": "x", "exp": now() + 600}));
    let begin = tokio::time::Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let (server, token) = (Arc::clone(&server), token.clone());
        asking.spawn(async move {
            let denied = ask(&server, &token).await.unwrap_err();
            assert!(denied.starts_with("unavailable"), "{denied}");
            begin.elapsed().as_secs()
        });
    }
    let waited = asking.join_all().await;
    let at_once = waited.iter().filter(|seconds| **seconds == 0).count();
    assert_eq!(at_once, 300 - 256, "{waited:?}");
    assert!(waited.iter().all(|seconds| *seconds <= 3), "{waited:?}");
}

#[tokio::test]
async fn the_claims_say_who_sends() {
    let key = Signing::ecdsa();
    let issuer = Server::start(json!({"keys": [key.jwk("a")]})).await;
    let server = open(vec![Provider {
        username_claim: "email".to_owned(),
        groups_claim: "groups".to_owned(),
        ..issuer.provider()
    }]);
    let mut claims = issuer.claims();
    assert!(ask(&server, &key.token("a", &claims)).await.unwrap_err().contains("name"));
    claims["email"] = json!("ann@example.com");
    assert!(ask(&server, &key.token("a", &claims)).await.unwrap_err().contains("groups"));
    claims["groups"] = json!(["a", "b", 3]);
    let token = key.token("a", &claims);
    let identity = ask(&server, &token).await.unwrap();
    let values = |name: &str| {
        let mut known = identity.iter().filter(|(known, _)| known == name);
        known.next().map(|(_, values)| values.join(";"))
    };
    assert_eq!(values("subject").unwrap(), "ann@example.com");
    assert_eq!(values("membership").unwrap(), "a;b;3");
    assert_eq!(values("raw").unwrap(), token);
    assert_eq!(values("sub").unwrap(), "ann");
    assert_eq!(values("exp"), None, "only text is shown");
}

#[tokio::test]
async fn the_issuer_of_a_token_chooses_the_provider() {
    let (one, two) = (Signing::ecdsa(), Signing::ecdsa());
    let first = Server::start(json!({"keys": [one.jwk("a")]})).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"keys": [two.jwk("x")]}).to_string()).unwrap();
    let second = Provider {
        issuer_url: "https://issuer.invalid".to_owned(),
        ignore_audience: true,
        public_keys_file: file.path().to_str().unwrap().to_owned(),
        ..Provider::default()
    };
    let server = open(vec![first.provider(), second]);
    assert!(ask(&server, &one.token("a", &first.claims())).await.is_ok());
    let claims = json!({"iss": "https://issuer.invalid", "exp": now() + 600});
    let any_id = two.token("whatever", &claims);
    assert!(ask(&server, &any_id).await.is_ok(), "a file's keys are taken for any id");
    assert!(ask(&server, &one.token("a", &claims)).await.is_err(), "of the other provider");
    let claims = json!({"iss": "https://nobody.invalid", "exp": now() + 600});
    let denied = ask(&server, &one.token("a", &claims)).await.unwrap_err();
    assert!(denied.contains("not configured"), "{denied}");
}

/// The example of RFC 7515, appendix A.2, which has expired, but is signed.
#[test]
fn rsa_signatures_are_checked() {
    let key = json!({"keys": [{
        "kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
              P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6\
              3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw\
              Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW\
              yuXpoQ",
    }]});
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9\
                  leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQ\
                  gr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYN\
                  X4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN938\
                  3LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6\
                  LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let keys = keys::KeySet::read(key.to_string().as_bytes()).unwrap();
    let provider = Provider { ignore_audience: true, ignore_issuer: true, ..Provider::default() };
    let rules = Rules::of(&provider);
    let why = |raw: &str| {
        let header = token::header(raw).unwrap();
        token::verify(raw, &header, &keys, &rules).unwrap_err().0
    };
    assert_eq!(why(signed), "the token has expired");
    let forged = signed.replace(".cC4h", ".cC4i");
    assert_eq!(why(&forged), "the token is not signed by a key of the issuer");
}
