//! Reads the query of a request: `exclude=etcd&exclude=shutdown&verbose`.

/// The keys and values of a query, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        )
    }

    /// The values of a key that may be repeated.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.first(key).is_some()
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        matches!(self.first(key), Some("true" | "1"))
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.first(key)?.parse().ok()
    }
}

/// Undoes percent encoding; what is no valid encoding stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_read_as_kubectl_encodes_it() {
        let query = Query::parse(Some("labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes"));
        assert_eq!(query.first("labelSelector"), Some("kubernetes.io/service-name=kubernetes"));
    }

    #[test]
    fn a_key_can_be_repeated_and_have_no_value() {
        let query = Query::parse(Some("exclude=etcd&verbose&exclude=shutdown&bad=%zz"));
        assert_eq!(query.all("exclude").collect::<Vec<_>>(), ["etcd", "shutdown"]);
        assert!(query.has("verbose"));
        assert_eq!(query.first("bad"), Some("%zz"));
        assert!(!Query::parse(None).has("verbose"));
    }
}
