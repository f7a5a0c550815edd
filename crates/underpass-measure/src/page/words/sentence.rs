//! Sentences that contain numbers, in both languages side by side.

use crate::page::Language;

/// Chooses the English or the Chinese form of a sentence.
macro_rules! say {
    ($language:expr, $english:literal, $chinese:literal) => {
        match $language {
            Language::English => format!($english),
            Language::Chinese => format!($chinese),
        }
    };
}

/// The headline where sendfile costs less.
pub(in crate::page) fn saves(language: Language, percent: f64, size: &str) -> String {
    say!(
        language,
        "On this machine sendfile saves {percent} % of the CPU at {size}",
        "在这台机器上，发送 {size} 的文件时 sendfile 节省 {percent} % 的 CPU 时间"
    )
}

/// The headline where sendfile costs more.
pub(in crate::page) fn costs_more(language: Language, percent: f64, size: &str) -> String {
    say!(
        language,
        "On this machine sendfile costs {percent} % more CPU at {size}",
        "在这台机器上，发送 {size} 的文件时 sendfile 多用 {percent} % 的 CPU 时间"
    )
}

/// The headline where the rounds do not agree on which costs less.
pub(in crate::page) fn makes_no_difference(language: Language, size: &str) -> String {
    say!(
        language,
        "On this machine sendfile makes no clear difference to the CPU at {size}",
        "在这台机器上，发送 {size} 的文件时 sendfile 所用的 CPU 时间没有明显差别"
    )
}

/// What the headline was calculated from: CPU seconds of read-write and of sendfile, and median,
/// lowest and highest ratio.
pub(in crate::page) fn headline_detail(
    language: Language,
    interface: &str,
    cost: [String; 2],
    ratio: [String; 3],
    rounds: u32,
) -> String {
    let apart = apart(interface);
    let [classic, sendfile] = cost;
    let [median, low, high] = ratio;
    if rounds == 1 {
        return say!(
            language,
            "Over {interface}, the sender spends {sendfile} s of CPU time on each GB instead of {classic} s with read and write: {median} times as much, in the only round.",
            "经{apart}每发送 1 GB，sendfile 用 CPU 时间 {sendfile} 秒，read 与 write 用 {classic} 秒；前者是后者的 {median} 倍（只测了一轮）。"
        );
    }
    say!(
        language,
        "Over {interface}, the sender spends {sendfile} s of CPU time on each GB instead of {classic} s with read and write; compared round by round, {median} times as much (from {low} to {high} in {rounds} rounds).",
        "经{apart}每发送 1 GB，sendfile 用 CPU 时间 {sendfile} 秒，read 与 write 用 {classic} 秒；逐轮相比，前者是后者的 {median} 倍（{rounds} 轮中最低 {low}，最高 {high}）。"
    )
}

/// The name of an interface as the page shows it.
pub(in crate::page) fn interface(language: Language, name: &str) -> String {
    match (language, name) {
        (Language::Chinese, "loopback") => "回环".to_owned(),
        (Language::Chinese, "veth-no-gather") => "veth（不聚集）".to_owned(),
        _ => name.to_owned(),
    }
}

/// Sets a name apart from the Chinese characters before it.
fn apart(name: &str) -> String {
    let space = if name.starts_with(|first: char| first.is_ascii()) {
        " "
    } else {
        ""
    };
    format!("{space}{name}")
}

/// What a network card would do where there is none.
pub(in crate::page) fn with_a_card(language: Language, mover: &str, count: &str) -> String {
    say!(
        language,
        "a card: {mover} {count}",
        "有网卡：{mover} {count}"
    )
}

/// The mark of the crossing point in the chart.
pub(in crate::page) fn cheaper_from(language: Language, size: &str) -> String {
    say!(
        language,
        "sendfile costs less from {size} up",
        "从 {size} 起 sendfile 更省"
    )
}

/// How often, and how that is known: `2.00 times (measured)`.
pub(in crate::page) fn times(language: Language, count: &str, evidence: &str) -> String {
    say!(
        language,
        "{count} times ({evidence})",
        "{count} 次（{evidence}）"
    )
}

/// The copies of both ways on one interface, by the CPU and by DMA; each is made by [`times`].
pub(in crate::page) fn copies(
    language: Language,
    interface: &str,
    classic: [&str; 2],
    sendfile: [&str; 2],
) -> String {
    let apart = apart(interface);
    let ([classic_cpu, classic_dma], [sendfile_cpu, sendfile_dma]) = (classic, sendfile);
    say!(
        language,
        "Over {interface}, each byte is copied by the CPU {classic_cpu} with read-write, {sendfile_cpu} with sendfile; by DMA {classic_dma} and {sendfile_dma}.",
        "经{apart}，每个字节的 CPU 拷贝：read-write 为 {classic_cpu}，sendfile 为 {sendfile_cpu}；DMA 拷贝：{classic_dma}与 {sendfile_dma}。"
    )
}

/// The copies and the passes of encryption of one way with TLS; both are made by [`times`].
pub(in crate::page) fn way_with_tls(
    language: Language,
    way: &str,
    copies: &str,
    passes: &str,
) -> String {
    say!(
        language,
        "{way} copies each byte {copies} and encrypts it {passes}",
        "{way} 对每个字节拷贝 {copies}，加密 {passes}"
    )
}

/// The ways with TLS on one interface; each is made by [`way_with_tls`].
pub(in crate::page) fn with_tls(language: Language, interface: &str, ways: &[String]) -> String {
    let mut apart = apart(interface);
    if interface.ends_with(|last: char| last.is_ascii()) {
        apart.push(' ');
    }
    let (english, chinese) = (ways.join("; "), ways.join("；"));
    say!(
        language,
        "With TLS over {interface}, the sender's CPU works on the bytes like this: {english}.",
        "经{apart}使用 TLS 时，发送方的 CPU：{chinese}。"
    )
}

/// Names the kernel that the sentence is about.
pub(in crate::page) fn on_this_kernel(language: Language, kernel: &str) -> String {
    say!(
        language,
        "On this kernel ({kernel}):",
        "在这个内核（{kernel}）上："
    )
}

/// Says how many bytes the costs on a card are for.
pub(in crate::page) fn for_each(language: Language, size: &str) -> String {
    say!(language, "for each {size}", "每 {size}")
}

/// Introduces the table of streams.
pub(in crate::page) fn streams_intro(language: Language, unit: &str) -> String {
    say!(
        language,
        "From one socket to others, over loopback. Rates and CPU time are of what all consumers got together, calls for each {unit} of it; CPU copies are of each byte of the stream: read-write copies it once in and once out for each consumer, splice gives all of them the same pages.",
        "从一个套接字到其他套接字，经回环。速率与 CPU 时间按全部接收者共得的字节计算，系统调用按每 {unit} 计；CPU 拷贝按数据流的每个字节计：read-write 读入一次，并为每个接收者写出一次；splice 则让所有接收者共用同样的页。"
    )
}

/// A heading: a way over an interface.
pub(in crate::page) fn over(language: Language, way: &str, interface: &str) -> String {
    let apart = apart(interface);
    say!(language, "{way} over {interface}", "{way}，经{apart}")
}

/// A hop in words, for readers who cannot see the picture.
pub(in crate::page) fn hop(
    language: Language,
    from: &str,
    to: &str,
    mover: &str,
    count: &str,
) -> String {
    say!(
        language,
        "{from} to {to}: {mover} {count}",
        "{from}到{to}：{mover} {count}"
    )
}

/// The crossing point, if there is one.
pub(in crate::page) fn crossing_between(
    language: Language,
    way: &str,
    copying: &str,
    from: &str,
    ratio: &str,
) -> String {
    say!(
        language,
        "From {from} up, {way} costs less CPU than copying with read-write: {ratio} times as much there. At {copying} it does not clearly cost less.",
        "{way}：从 {from} 起比用 read-write 拷贝更省 CPU，在该处 CPU 时间之比为 {ratio}；在 {copying} 时还没有明显更省。"
    )
}

/// The way costs less at every size.
pub(in crate::page) fn crossing_always(language: Language, way: &str) -> String {
    say!(
        language,
        "{way} costs less CPU than copying with read-write at every size measured.",
        "{way}：在所有测过的大小上都比用 read-write 拷贝更省 CPU。"
    )
}

/// The way does not clearly cost less at the largest size.
pub(in crate::page) fn crossing_never(language: Language, way: &str) -> String {
    say!(
        language,
        "No size was found from which {way} clearly costs less CPU than copying with read-write.",
        "{way}：在测过的大小中，没有从哪个大小起一直明显比用 read-write 拷贝更省 CPU。"
    )
}

/// The measurement cannot tell where the crossing point is.
pub(in crate::page) fn crossing_untimed(language: Language, way: &str) -> String {
    say!(
        language,
        "{way} was not timed beside read-write over this interface.",
        "{way}：没有在此网络接口上与 read-write 一起计时。"
    )
}

/// Says how many bytes the table's counts are for.
pub(in crate::page) fn table_unit(language: Language, size: &str) -> String {
    say!(
        language,
        "System calls and mode switches for each {size}, copies and passes of encryption for each byte sent.",
        "系统调用与模式切换按每 {size} 计，拷贝与加密遍数按每发送一个字节计。"
    )
}
