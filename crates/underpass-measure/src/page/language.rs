//! The languages of the page.

use std::str::FromStr;

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// English, `en`.
    English,
    /// Chinese in simplified characters, `zh`.
    Chinese,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The language's name in options: `en` or `zh`.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The value of Open Graph's `og:locale`.
    pub(super) fn locale(self) -> &'static str {
        match self {
            Self::English => "en_US",
            Self::Chinese => "zh_CN",
        }
    }

    /// The value of HTML's `lang` attribute. Without the script in it, fonts may show the Japanese
    /// forms of characters.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|language| language.name() == text)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a language of the page; these are: en (English), zh (Chinese)"
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_language_or_says_which_there_are() {
        for language in Language::ALL {
            assert_eq!(language.name().parse(), Ok(language));
        }
        let refused = "fr".parse::<Language>().unwrap_err();
        assert!(
            refused.contains("\"fr\"") && refused.contains("zh"),
            "{refused}"
        );
    }
}
