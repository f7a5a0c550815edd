//! The languages of pages.

use std::fmt::{self, Display, Formatter};

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use crate::semantics::list::members;

/// A language that pages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    Chinese,
}

/// The texts of a listing.
pub(super) struct Texts {
    pub(super) index_of: &'static str,
    pub(super) breadcrumb: &'static str,
    pub(super) top: &'static str,
    pub(super) parent: &'static str,
    pub(super) next_page: &'static str,
    pub(super) empty: &'static str,
    pub(super) name: &'static str,
    pub(super) modified: &'static str,
    pub(super) size: &'static str,
    pub(super) search: &'static str,
    pub(super) archives: &'static str,
    pub(super) files: &'static str,
    pub(super) if_it_exists: &'static str,
    pub(super) keep_both: &'static str,
    pub(super) skip: &'static str,
    pub(super) replace: &'static str,
    pub(super) upload: &'static str,
    pub(super) back: &'static str,
    pub(super) uploads: &'static str,
}

const ENGLISH: Texts = Texts {
    index_of: "Index of",
    breadcrumb: "Breadcrumb",
    top: "Top directory",
    parent: "Parent directory",
    next_page: "Next page",
    empty: "This directory is empty.",
    name: "Name",
    modified: "Modified",
    size: "Size",
    search: "Search this directory",
    archives: "Download all",
    files: "Upload files",
    if_it_exists: "If the name is taken",
    keep_both: "keep both",
    skip: "skip the file",
    replace: "replace the old file",
    upload: "Upload",
    back: "Back to the directory",
    uploads: "Uploads",
};

const CHINESE: Texts = Texts {
    index_of: "目录",
    breadcrumb: "路径",
    top: "根目录",
    parent: "上级目录",
    next_page: "下一页",
    empty: "此目录为空。",
    name: "名称",
    modified: "修改时间",
    size: "大小",
    search: "搜索此目录",
    archives: "全部下载",
    files: "上传文件",
    if_it_exists: "如有同名文件",
    keep_both: "保留两者",
    skip: "跳过该文件",
    replace: "替换旧文件",
    upload: "上传",
    back: "返回目录",
    uploads: "上传结果",
};

impl Language {
    /// The language that `Accept-Language` prefers: by weight, and with the same weight the one
    /// that is named first. English if neither is named.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::English);
        for member in members(headers, &ACCEPT_LANGUAGE) {
            let primary = member.value.split('-').next().unwrap_or_default();
            let language = match primary {
                it if it.eq_ignore_ascii_case("zh") => Self::Chinese,
                it if it.eq_ignore_ascii_case("en") => Self::English,
                _ => continue,
            };
            if member.weight > best.0 {
                best = (member.weight, language);
            }
        }
        best.1
    }

    /// The value of `lang`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }

    pub(super) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }

    /// Describes a status for people.
    pub(super) fn describe(self, status: u16) -> &'static str {
        match (self, status) {
            (Self::English, 400) => "This address is not valid.",
            (Self::English, 403) => "This is not allowed.",
            (Self::English, 404) => "Nothing is here.",
            (Self::English, 409) => "This is not possible here.",
            (Self::English, 412) => "There is another version of this file.",
            (Self::English, 413) => "The file is too large.",
            (Self::English, 503) => "The server is busy. Try again in a moment.",
            (Self::English, 507) => "The server has no space left.",
            (Self::English, 500..) => "The server has failed.",
            (Self::English, _) => "This request cannot be answered.",
            (Self::Chinese, 400) => "该地址无效。",
            (Self::Chinese, 403) => "不允许此操作。",
            (Self::Chinese, 404) => "这里没有内容。",
            (Self::Chinese, 409) => "此处无法执行该操作。",
            (Self::Chinese, 412) => "该文件已有其他版本。",
            (Self::Chinese, 413) => "文件太大。",
            (Self::Chinese, 503) => "服务器繁忙，请稍后再试。",
            (Self::Chinese, 507) => "服务器空间不足。",
            (Self::Chinese, 500..) => "服务器出错。",
            (Self::Chinese, _) => "无法响应此请求。",
        }
    }
}

/// Counts of entries: `2 directories, 1 file, `.
pub(super) struct Counts {
    pub(super) language: Language,
    pub(super) directories: usize,
    pub(super) files: usize,
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (directories, files) = (self.directories, self.files);
        match self.language {
            Language::English => {
                if directories > 0 {
                    let plural = if directories == 1 { "y" } else { "ies" };
                    write!(f, "{directories} director{plural}, ")?;
                }
                let plural = if files == 1 { "" } else { "s" };
                write!(f, "{files} file{plural}, ")
            }
            Language::Chinese => {
                if directories > 0 {
                    write!(f, "{directories} 个目录，")?;
                }
                write!(f, "{files} 个文件，")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_best_liked_language_is_chosen() {
        use Language::{Chinese, English};
        for (line, expected) in [
            (None, English),
            (Some("zh-CN,zh;q=0.9,en;q=0.8"), Chinese),
            (Some("en-US,en;q=0.9,zh;q=0.8"), English),
            (Some("zh;q=0.5, en;q=0.7"), English),
            (Some("de, ZH-tw;q=0.1"), Chinese),
            (Some("de, fr"), English),
            (Some("zh;q=0"), English),
            (Some("zhx"), English),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(line.map(|it| (ACCEPT_LANGUAGE, HeaderValue::from_static(it))));
            assert_eq!(Language::of(&headers), expected, "{line:?}");
        }
    }
}
