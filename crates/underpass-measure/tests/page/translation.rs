//! The Chinese page is Chinese: what is left in English says so, or is a name.

use scraper::ElementRef;
use underpass_measure::page::{Language, render};

use crate::{all, parse, report};

/// Names and terms are a word or two; three in a row are a sentence that someone forgot.
const SENTENCE: usize = 3;

#[test]
fn no_english_sentence_is_left_in_the_chinese_page() {
    let page = parse(&render(&report(), Language::Chinese));
    assert_eq!(page.root_element().attr("lang"), Some("zh-Hans"));
    let machine = report().machine;
    let mut texts = Vec::new();
    collect(page.root_element(), &mut texts);
    assert!(texts.len() > 100);
    for text in texts {
        if text.starts_with("underpass measure") {
            continue;
        }
        let text = text
            .replace(&machine.kernel, "")
            .replace(&machine.processor, "");
        let words: Vec<&str> = text.split_whitespace().collect();
        let english = |word: &&str| {
            word.len() > 1
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_alphabetic() || ",.;".contains(letter))
        };
        let sentence = words
            .windows(SENTENCE)
            .find(|words| words.iter().all(english));
        assert_eq!(sentence, None, "{text}");
    }
}

#[test]
fn the_terms_are_the_agreed_ones() {
    let page = render(&report(), Language::Chinese);
    let terms = [
        "用户态",
        "内核态",
        "用户空间",
        "内核空间",
        "DMA",
        "上下文切换",
        "模式切换",
        "页缓存",
        "零拷贝",
        "分散-聚集（scatter-gather）",
        "定时采样",
        "被抢占",
        "误差线",
        "传输",
        "回环",
        "套接字缓冲区",
        "CPU 拷贝",
    ];
    for term in terms {
        assert!(page.contains(term), "{term}");
    }
}

#[test]
fn what_has_no_translation_is_marked_as_english() {
    let page = parse(&render(&report(), Language::Chinese));
    let marked = all(&page, "[lang=en]");
    let told: String = marked.iter().flat_map(ElementRef::text).collect();
    for warning in report().warnings {
        assert!(told.contains(&warning));
    }
}

/// The words that the measuring itself uses are translated, and so are those about this machine.
#[test]
fn what_the_measuring_says_is_chinese() {
    let mut report = report();
    report.warnings =
        vec!["sender and receiver shared one processor: throughput is of both together".to_owned()];
    report.per_unit[0].syscalls.why = "tracepoint raw_syscalls:sys_enter".to_owned();
    report.per_unit[0].copies.by_cpu.why = "loopback gathers".to_owned();
    let page = render(&report, Language::Chinese);
    for chinese in ["共用一个处理器", "跟踪点 raw_syscalls", "回环支持分散-聚集"]
    {
        assert!(page.contains(chinese), "{chinese}");
    }
    for english in ["shared one processor", ">loopback<", "loopback gathers"] {
        assert!(!page.contains(english), "{english}");
    }
}

/// What is seen and read aloud, except what is marked as English; tooltips repeat footnotes.
fn collect(element: ElementRef<'_>, texts: &mut Vec<String>) {
    if element.attr("lang") == Some("en")
        || ["style", "code", "script"].contains(&element.value().name())
    {
        return;
    }
    texts.extend(element.attr("aria-label").map(str::to_owned));
    for child in element.children() {
        if let Some(text) = child.value().as_text() {
            texts.push(text.to_string());
        } else if let Some(child) = ElementRef::wrap(child) {
            collect(child, texts);
        }
    }
}
