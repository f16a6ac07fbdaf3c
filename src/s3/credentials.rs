//! The ways to get credentials for S3: keys in the environment, web identity, container, instance role. `object_store`
//! uses the first of these ways whose variables are set. The instance role needs no variables.

/// A way to get credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Environment,
    WebIdentity,
    Container,
    Instance,
}

/// AWS's own programs read this variable, but `object_store` does not. If the variable is needed, Medlift reports an
/// error.
pub(super) const TOKEN_VARIABLE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

const WAYS: [Way; 4] = [Way::Environment, Way::WebIdentity, Way::Container, Way::Instance];

impl Way {
    /// Returns the way that the variables select.
    ///
    /// # Errors
    /// A variable is set, but a second variable that it needs is not set.
    pub(crate) fn of(is_set: impl Fn(&str) -> bool) -> Result<Self, String> {
        let both = |one: &str, other: &str| match (is_set(one), is_set(other)) {
            (true, false) => Err(format!("{one} is set, but {other} is not; set both")),
            (one, _) => Ok(one),
        };
        both("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")?;
        if both("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")? {
            return Ok(Self::Environment);
        }
        if both("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")? {
            return Ok(Self::WebIdentity);
        }
        let (full, token_file) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        if is_set(full) && is_set(TOKEN_VARIABLE) && !is_set(token_file) {
            return Err(format!(
                "{TOKEN_VARIABLE} is not read; write the token to a file, and set {token_file} to its path"
            ));
        }
        let is_container = is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || both(full, token_file)?;
        Ok(if is_container { Self::Container } else { Self::Instance })
    }

    /// Returns the name that messages use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Environment => "the environment (AWS_ACCESS_KEY_ID)",
            Self::WebIdentity => "the web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
            Self::Container => "the container (AWS_CONTAINER_CREDENTIALS_…)",
            Self::Instance => "the instance role",
        }
    }

    /// Returns a text that lists the ways that were tried, with the result of each. The last one is `self`, which
    /// failed because of `cause`. The variables of the ways before it are not set.
    pub(crate) fn tried(self, cause: &str) -> String {
        let tried = WAYS.iter().map_while(|way| match (*way == self, *way as u8 <= self as u8) {
            (true, _) => Some(format!("{}: {cause}", way.name())),
            (_, true) => Some(format!("{}: not set", way.name())),
            _ => None,
        });
        tried.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_select_the_way() {
        let of = |set: &[&str]| Way::of(|name| set.contains(&name));
        let environment = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let web = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"];
        let full = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
        assert_eq!(of(&[]), Ok(Way::Instance));
        assert_eq!(of(&environment), Ok(Way::Environment));
        assert_eq!(of(&[environment, web].concat()), Ok(Way::Environment));
        assert_eq!(of(&web), Ok(Way::WebIdentity));
        assert_eq!(of(&["AWS_ROLE_ARN"]), Ok(Way::Instance));
        assert_eq!(of(&full), Ok(Way::Container));
        assert_eq!(of(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]), Ok(Way::Container));
        let token = of(&[full[0], TOKEN_VARIABLE]).unwrap_err();
        assert!(token.contains("AUTHORIZATION_TOKEN is not read; write the token to a file"), "{token}");
        assert_eq!(of(&[full[0], full[1], TOKEN_VARIABLE]), Ok(Way::Container));
        assert_eq!(of(&[TOKEN_VARIABLE]), Ok(Way::Instance));
        for (one, missing) in
            [(environment[0], environment[1]), (environment[1], environment[0]), (web[0], web[1]), (full[0], full[1])]
        {
            let error = of(&[one]).unwrap_err();
            assert!(error.contains(&format!("{one} is set, but {missing} is not")), "{error}");
        }
    }

    #[test]
    fn the_ways_before_the_last_were_not_set() {
        assert_eq!(Way::Environment.tried("x"), "the environment (AWS_ACCESS_KEY_ID): x");
        let tried = Way::Instance.tried("timeout");
        assert_eq!(tried.matches("not set").count(), 3, "{tried}");
        assert!(tried.ends_with("; the instance role: timeout"), "{tried}");
    }
}
