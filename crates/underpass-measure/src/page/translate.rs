//! What the measuring says, in Chinese: the grounds of numbers, the probes, and the warnings.

/// An English text and its translation. `{}` stands for a part that differs, which is translated
/// too if it has a translation.
type Pattern = (&'static str, &'static str);

/// The first pattern that fits counts, so longer ones come first.
const PATTERNS: &[Pattern] = &[
    // Grounds of counts.
    (
        "tracepoint raw_syscalls:sys_enter",
        "跟踪点 raw_syscalls:sys_enter",
    ),
    (
        "counted by the program as it made them",
        "由程序在发出调用时计数",
    ),
    (
        "two a system call and two a page fault in user mode",
        "每次系统调用两次，用户态下每次缺页两次",
    ),
    (
        "two a system call; page faults in user mode were not counted",
        "每次系统调用两次；没有统计用户态下的缺页",
    ),
    (
        "a disk's DMA, which no software sees, filled the page cache when the file was first read",
        "第一次读取文件时，由磁盘的 DMA 填入页缓存；软件看不到",
    ),
    (
        "a network card's DMA, which no software sees; loopback and veth have no card, and pass references on",
        "由网卡的 DMA 完成，软件看不到；回环与 veth 没有网卡，只传递引用",
    ),
    ("nothing is read into a buffer", "没有读入缓冲区"),
    ("nothing is written from a buffer", "没有从缓冲区写出"),
    (
        "read(2) copies once, and write(2) once for each consumer",
        "read(2) 拷贝一次，write(2) 为每个接收者各拷贝一次",
    ),
    ("read(2) copies", "read(2) 会拷贝"),
    ("write(2) copies", "write(2) 会拷贝"),
    (
        "splice(2) and tee(2) pass references to pages on",
        "splice(2) 与 tee(2) 只传递页的引用",
    ),
    (
        "the bytes were read, but not through {}: this file system has its own way",
        "字节已读入，但没有经过 {}：这个文件系统有自己的做法",
    ),
    (
        "the kernel said after each send whether it copied (SO_EE_CODE_ZEROCOPY_COPIED)",
        "每次发送之后，内核报告了是否拷贝（SO_EE_CODE_ZEROCOPY_COPIED）",
    ),
    (
        "the kernel did not say whether it copied",
        "内核没有报告是否拷贝",
    ),
    (
        "{} does not gather: packets are made contiguous",
        "{} 不支持分散-聚集：数据包要先拼成连续的一块",
    ),
    (
        "{} does not say whether it gathers",
        "{} 没有说明是否支持分散-聚集",
    ),
    ("{} gathers", "{} 支持分散-聚集"),
    (
        "counted by this program's record layer, as it encrypted",
        "由本程序的 TLS 记录层在加密时计数",
    ),
    (
        "TLS in the kernel encrypts each byte once",
        "内核中的 TLS 对每个字节加密一遍",
    ),
    (
        "kprobes: {}; TCP sent {} segments again",
        "kprobes：{}；TCP 重传了 {} 个报文段",
    ),
    (
        "kprobes: {}; {} calls were missed",
        "kprobes：{}；漏计了 {} 次调用",
    ),
    (
        "kprobes: {}, on the whole machine",
        "kprobes：{}，统计范围为整台机器",
    ),
    ("kprobes: {}", "kprobes：{}"),
    // Probes.
    (
        "bytes copied by the CPU, hop by hop, and bytes encrypted by the kernel, exactly (kprobe events with histogram triggers)",
        "逐段精确统计 CPU 拷贝的字节，以及内核加密的字节（带直方图触发器的 kprobe 事件）",
    ),
    (
        "share of the sending thread's CPU time in functions that copy (perf clock sampling)",
        "发送线程的 CPU 时间中拷贝函数所占的比例（perf 时钟定时采样）",
    ),
    (
        "system calls, and page faults taken in user mode, of the sending thread (raw_syscalls, exceptions)",
        "发送线程的系统调用，以及用户态下的缺页（raw_syscalls、exceptions）",
    ),
    (
        "CPU time and context switches of the sending thread (getrusage)",
        "发送线程的 CPU 时间与上下文切换（getrusage）",
    ),
    (
        "{} could not be placed ({}), so {} is not counted",
        "无法放置 {}（{}），因此没有统计“{}”",
    ),
    (
        "page faults in user mode are not counted: {}",
        "没有统计用户态下的缺页：{}",
    ),
    (
        "{}; root ({}) would add it",
        "{}；以 root 身份（{}）运行即可使用",
    ),
    ("{} ({} and {} are needed)", "{}（需要 {} 与 {}）"),
    (
        "{}; CAP_SYS_ADMIN and CAP_PERFMON would add it",
        "{}；有 CAP_SYS_ADMIN 与 CAP_PERFMON 权限即可使用",
    ),
    (
        "the kernel is locked down for confidentiality, and refuses this to everybody ({}); boot it with lockdown=integrity or without lockdown=",
        "内核为保密而锁定，对任何人都拒绝（{}）；请以 lockdown=integrity 或不带 lockdown= 启动",
    ),
    (
        "{}; the kernel is locked down: {}",
        "{}；内核处于锁定状态：{}",
    ),
    (
        "this kernel has no kprobe events (CONFIG_KPROBE_EVENTS)",
        "这个内核没有 kprobe 事件（CONFIG_KPROBE_EVENTS）",
    ),
    (
        "this kernel has no function of that name",
        "这个内核没有同名函数",
    ),
    (
        "the kernel hides its addresses (kernel.kptr_restrict)",
        "内核隐藏了地址（kernel.kptr_restrict）",
    ),
    ("encryption by the kernel", "内核加密"),
    ("disk to page cache", "磁盘到页缓存"),
    ("page cache to user buffer", "页缓存到用户缓冲区"),
    ("socket queue to user buffer", "套接字队列到用户缓冲区"),
    ("user buffer to socket buffer", "用户缓冲区到套接字缓冲区"),
    ("page cache to socket buffer", "页缓存到套接字缓冲区"),
    ("socket buffer to interface", "套接字缓冲区到网络接口"),
    ("Permission denied (os error 13)", "权限不够（os error 13）"),
    (
        "Operation not permitted (os error 1)",
        "操作不允许（os error 1）",
    ),
    (
        "No such file or directory (os error 2)",
        "没有这个文件或目录（os error 2）",
    ),
    ("loopback", "回环"),
    ("veth-no-gather", "veth（不聚集）"),
    // Interfaces and ways.
    ("{} cannot be set up: {}", "无法建立 {}：{}"),
    ("the kernel has no TLS: {}", "内核没有 TLS：{}"),
    // Warnings.
    (
        "this machine is noisy: the CPU time of read-write varied by {} % between rounds; believe ratios before figures, and repeat before either",
        "这台机器干扰较大：各轮之间 read-write 的 CPU 时间相差 {} %；比值比绝对数字更可信，最好重复测量再下结论",
    ),
    (
        "sender and receiver shared one processor: throughput is of both together",
        "发送方与接收方共用一个处理器：吞吐量是两者合在一起的",
    ),
    (
        "the file lay on {}, which has no disk: the DMA from one is of other file systems (--dir)",
        "文件位于 {}，它没有磁盘：磁盘的 DMA 属于其他文件系统的情形（--dir）",
    ),
    (
        "copies of {} over {} are not known: {}: {}",
        "{} 经 {} 的拷贝次数未知：{}：{}",
    ),
    (
        "{} kprobe events of a run that was killed were found and removed",
        "发现并清除了 {} 个由被终止的运行留下的 kprobe 事件",
    ),
];

/// The translation of a text, if there is one. Several grounds may be joined by semicolons.
pub(super) fn chinese(text: &str) -> Option<String> {
    one(text).or_else(|| {
        let mut joints = text.match_indices("; ");
        joints.find_map(|(at, joint)| {
            let (first, rest) = (one(&text[..at])?, chinese(&text[at + joint.len()..])?);
            Some(format!("{first}；{rest}"))
        })
    })
}

fn one(text: &str) -> Option<String> {
    PATTERNS
        .iter()
        .find_map(|(english, chinese)| filled(chinese, &parts(english, text)?))
}

/// What stands in `text` at each `{}` of `pattern`; `None` if it does not fit.
fn parts<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut literals = pattern.split("{}");
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut parts = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let end = if literals.peek().is_none() {
            rest.strip_suffix(literal)?.len()
        } else {
            rest.find(literal)?
        };
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = &after[literal.len()..];
    }
    let fits = rest.is_empty() && parts.iter().all(|part| !part.is_empty());
    fits.then_some(parts)
}

/// The translation with its parts; `None` if a part is an English sentence without a translation.
fn filled(chinese: &str, parts: &[&str]) -> Option<String> {
    let mut literals = chinese.split("{}");
    let mut text = literals.next().unwrap_or_default().to_owned();
    for (literal, part) in literals.zip(parts) {
        match self::chinese(part) {
            Some(translated) => text.push_str(&translated),
            None if is_sentence(part) || part.contains("; ") => return None,
            None => text.push_str(part),
        }
        text.push_str(literal);
    }
    Some(closed_up(&text))
}

/// The text without the spaces between two Chinese characters, which only Latin letters need.
fn closed_up(text: &str) -> String {
    let chinese = |letter: &char| ('\u{4e00}'..='\u{9fff}').contains(letter);
    let mut closed = String::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let between = closed.chars().last().is_some_and(|it| chinese(&it))
            && rest.peek().is_some_and(chinese);
        if letter != ' ' || !between {
            closed.push(letter);
        }
    }
    closed
}

/// Three words in a row: names and terms are a word or two.
fn is_sentence(text: &str) -> bool {
    let words: Vec<&str> = text.split([' ', '(']).collect();
    let is_word = |word: &&str| {
        word.len() > 1
            && word
                .chars()
                .all(|it| it.is_ascii_alphabetic() || ",.;".contains(it))
    };
    words.windows(3).any(|three| three.iter().all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_the_same_number_of_parts_in_both_languages() {
        for (english, chinese) in PATTERNS {
            let count = |text: &str| text.matches("{}").count();
            assert_eq!(count(english), count(chinese), "{english}");
        }
    }

    #[test]
    fn parts_are_put_in_and_translated() {
        for (english, chinese) in [
            ("loopback gathers", "回环支持分散-聚集"),
            (
                "read(2) copies; write(2) copies; loopback gathers",
                "read(2) 会拷贝；write(2) 会拷贝；回环支持分散-聚集",
            ),
            (
                "a disk's DMA, which no software sees, filled the page cache when the file was first read; a network card's DMA, which no software sees; loopback and veth have no card, and pass references on",
                "第一次读取文件时，由磁盘的 DMA 填入页缓存；软件看不到；由网卡的 DMA 完成，软件看不到；回环与 veth 没有网卡，只传递引用",
            ),
            (
                "kprobes: filemap_read; TCP sent 3 segments again",
                "kprobes：filemap_read；TCP 重传了 3 个报文段",
            ),
            (
                "tcp_sendmsg_locked could not be placed (this kernel has no function of that name), so user buffer to socket buffer is not counted",
                "无法放置 tcp_sendmsg_locked（这个内核没有同名函数），因此没有统计“用户缓冲区到套接字缓冲区”",
            ),
            (
                "Permission denied (os error 13); root (CAP_SYS_ADMIN, CAP_PERFMON) would add it",
                "权限不够（os error 13）；以 root 身份（CAP_SYS_ADMIN, CAP_PERFMON）运行即可使用",
            ),
        ] {
            assert_eq!(super::chinese(english).as_deref(), Some(chinese));
        }
        let sentence = "kprobes: something that nobody foresaw";
        for other in ["", "an error of the kernel", " gathers", sentence] {
            assert_eq!(super::chinese(other), None, "{other}");
        }
    }
}
