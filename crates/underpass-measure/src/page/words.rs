//! Every fixed text of the page, in both languages side by side.

use super::Language;

mod sentence;

pub(super) use sentence::*;

/// A text in English and in Chinese.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text(&'static str, &'static str);

impl Text {
    /// The text in one language.
    pub(super) fn say(self, language: Language) -> &'static str {
        match language {
            Language::English => self.0,
            Language::Chinese => self.1,
        }
    }
}

/// Defines constants, and a list of them all for the test that every text has both languages.
macro_rules! texts {
    ($($name:ident = $english:literal, $chinese:literal;)*) => {
        $(pub(super) const $name: Text = Text($english, $chinese);)*

        #[cfg(test)]
        const ALL: &[Text] = &[$($name),*];
    };
}

texts! {
    TITLE = "How bytes get from a file to the network", "字节怎样从文件走到网络";
    MYTH = "Zero-copy does not mean no copies, it means no copies by the CPU.", "零拷贝并不是没有拷贝，而是没有 CPU 拷贝。";
    ZERO_COPY = "So sendfile was zero-copy here.", "因此 sendfile 在这里是零拷贝。";
    NOT_ZERO_COPY = "So sendfile was not zero-copy here.", "因此 sendfile 在这里不是零拷贝。";
    ZERO_COPY_UNSEEN = "Whether sendfile was zero-copy here was not counted.", "sendfile 在这里是不是零拷贝，本次没有计数。";
    NO_COMPARISON = "In this run read-write and sendfile were not both counted over the same interface, so it says nothing about that.",
        "本次运行没有在同一网络接口上对 read-write 与 sendfile 都计数，因此对此没有结论。";
    WARNINGS = "Before you believe these numbers", "采信这些数字之前";

    MEASURED = "measured", "实测";
    REPORTED = "reported", "内核报告";
    EXPECTED = "expected", "预期";
    UNKNOWN = "unknown", "未知";
    MEASURED_MEANS = "a probe counted it in this run", "本次运行中由探针计数";
    REPORTED_MEANS = "the kernel said so of this very transfer", "内核报告了这次传输的实际情况";
    EXPECTED_MEANS = "documented for this way, not counted here; DMA copies always, because the devices make them and no software sees them",
        "依据文档推断，本次没有计数；DMA 拷贝一律如此，因为它由设备完成，软件看不到";
    UNKNOWN_MEANS = "nobody said", "无从得知";

    CLASSIC = "The classic way", "传统方式";
    ZERO = "Zero-copy", "零拷贝方式";
    PICTURES = "All other ways", "其他所有方式";
    PICTURES_TLS = "With TLS", "使用 TLS 的方式";
    PICTURES_OTHERS = "The other ways and interfaces", "其余的方式与网络接口";
    NO_CARD_HERE = "no card here", "这里没有网卡";
    NO_DISK_HERE = "no disk", "没有磁盘";
    NO_DISK = "if there were a disk; here the file is only in memory", "指有磁盘的情形，这里的文件只在内存中";
    DMA_COPIES_WITH_DISK = "DMA copies with a disk", "有磁盘时的 DMA 拷贝";
    DMA_COPIES_WITH_BOTH = "DMA copies with a disk and a card", "有磁盘和网卡时的 DMA 拷贝";
    NO_CARD = "if there were a network card; here there is none", "指有网卡的情形，这里没有网卡";
    DMA_COPIES_WITH_CARD = "DMA copies with a network card", "有网卡时的 DMA 拷贝";
    CHART = "CPU time of the sender, as a multiple of read-write's, for files of each size (median, lowest and highest round).",
        "发送各种大小的文件时，发送方的 CPU 时间是 read-write 的多少倍（中位数，误差线为最低与最高的一轮）。";
    CHART_CHEAPER = "less CPU than read-write", "比 read-write 更省 CPU";
    CPU_TIME_SHORT = "CPU time of the sender (shorter is better)", "发送方的 CPU 时间（越短越好）";
    SHARE_RESULT = "Share this result", "分享这个结果";
    SHARE_INTRO = "The card below can be copied or saved as a picture of 1200 × 630 pixels. To have it shown with links to this page, publish it beside the page and name its address in an og:image.",
        "下面的卡片可以复制或保存为 1200 × 630 像素的图片。若想让本页的链接附带这张图片，请把它与网页一同发布，并在 og:image 中写明它的地址。";
    COPY_PNG = "Copy as PNG", "复制为 PNG 图片";
    SAVE_PNG = "Save as PNG", "保存为 PNG 图片";
    COPIED = "Copied.", "已复制。";
    SAVED = "Saved.", "已保存。";
    RAN = "This report was made by:", "本报告由以下命令生成：";
    RAN_UNKNOWN = "The report does not say which command made it. This one makes such a page:", "报告没有记录生成它的命令。以下命令可以生成这样的网页：";
    LEGEND = "How to read the pictures", "图例";
    LEGEND_CPU = "CPU copy: a solid arrow", "CPU 拷贝：实心箭头";
    LEGEND_DMA = "DMA copy: a striped arrow", "DMA 拷贝：条纹箭头";
    LEGEND_CRYPTO = "encryption by the CPU, which is no copy: an outlined arrow", "CPU 加密，不算拷贝：空心箭头";
    LEGEND_NONE = "nothing copied (0.00), or not known (?): a dotted line", "没有拷贝（0.00）或未知（?）：点线";
    LEGEND_WIDTH = "An arrow is as wide as the bytes moved: the number is copies for each byte sent.",
        "箭头越宽，传输的字节越多；数字是每发送一个字节的拷贝次数。";

    USER_SPACE = "user space", "用户空间";
    KERNEL_SPACE = "kernel space", "内核空间";
    DISK = "disk", "磁盘";
    PAGE_CACHE = "page cache", "页缓存";
    SOCKET_BUFFER = "socket buffer", "套接字缓冲区";
    INTERFACE = "interface", "网络接口";
    BUFFER = "user buffer", "用户缓冲区";
    MAPPING = "mapping of the page cache", "页缓存的内存映射";
    MAPPING_SHORT = "mapped file", "映射的文件";
    RECORDS = "TLS records", "TLS 记录";
    ENCRYPTED = "encrypted", "加密";
    ENCRYPTED_IN_USER_SPACE = "encrypted in user space", "在用户空间加密";
    ENCRYPTED_BY_KERNEL = "encrypted by the kernel", "由内核加密";
    NO_BUFFER = "no user buffer", "不经过用户缓冲区";
    DESCRIPTORS = "only descriptors", "只有描述符";
    GATHERS_SHORT = "gathers", "可分散-聚集";
    GATHERS_NOT_SHORT = "does not gather", "不可分散-聚集";
    GATHERS_PERHAPS_SHORT = "gathers?", "分散-聚集？";
    DESCRIPTORS_ONLY = "Only descriptors (place, length) go to the socket buffer; the bytes stay in the page cache until the interface gathers them.",
        "只有描述符（位置和长度）进入套接字缓冲区；字节留在页缓存中，由网络接口以分散-聚集方式收集。";
    SEALED_FROM_BUFFER = "The program reads the file into a buffer, encrypts it into another one, and sends that.",
        "程序把文件读入缓冲区，加密写入另一个缓冲区，再发送出去。";
    SEALED_FROM_MAPPING = "The file is encrypted from its mapping straight into the outgoing buffer: nothing is read into a buffer first.",
        "文件从内存映射直接加密到发送缓冲区：不必先读入另一个缓冲区。";
    SEALED_BY_KERNEL = "The kernel encrypts the page cache's bytes straight into the records that it sends: no byte enters user space.",
        "内核把页缓存中的字节直接加密到要发送的记录中：没有字节进入用户空间。";
    COPIED_AFTER_ALL = "The socket buffer at first only referred to the pages; the CPU then copied them after all.",
        "套接字缓冲区起初只引用这些页；随后仍由 CPU 拷贝。";

    WAY = "way", "方式";
    CALLS = "system calls", "系统调用";
    MODE_SWITCHES = "mode switches (user/kernel)", "模式切换（用户态/内核态）";
    CPU_COPIES = "CPU copies", "CPU 拷贝";
    DMA_COPIES = "DMA copies", "DMA 拷贝";
    ALL_COPIES = "copies in all", "拷贝合计";
    CRYPTO_PASSES = "passes of encryption", "加密遍数";
    TLS_READ_WRITE = "read, TLS in user space, write", "先读取，在用户空间加密，再写出";
    TLS_SEAL = "TLS in user space from the mapping", "在用户空间直接加密内存映射";
    TLS_SENDFILE = "sendfile, TLS in the kernel", "sendfile，由内核加密";
    FOR_EACH_BYTE = "for each byte sent", "每发送一个字节";
    TABLE = "All counts", "全部计数";

    TIMES = "Speed and CPU time, by size", "各文件大小的速度与 CPU 时间";
    TIMES_INTRO = "A bar is the median of the rounds, its error bar the lowest and the highest. Behind the number: its ratio to read-write of the same round. Each group of bars has its own scale.",
        "条形为各轮的中位数，误差线标出最低值与最高值。数字之后是与同一轮 read-write 的比值。各组条形的刻度互不相同。";
    THROUGHPUT = "Throughput, GB/s (longer is better)", "吞吐量，GB/s（越长越好）";
    CPU_TIME = "CPU time of the sender, s/GB (shorter is better)", "发送线程的 CPU 时间，s/GB（越短越好）";
    CROSSING = "The size from which copying costs more CPU", "从多大的文件起拷贝更费 CPU";
    CROSSING_INTRO = "By the medians; a ratio whose range includes 1 may be noise.", "以中位数为准；若比值的范围包含 1，可能只是噪声。";

    SWITCHES = "Modes and context switches of the timed rounds", "计时各轮的模式与上下文切换";
    SWITCHES_INTRO = "Medians of the rounds. Context switches of the sending thread for each GB: it waited (voluntary), or it was preempted (involuntary).",
        "各轮的中位数。发送线程每传输 1 GB 的上下文切换：因等待而让出处理器（自愿），或被抢占（非自愿）。";
    KERNEL_SHARE = "CPU time in kernel mode", "内核态所占 CPU 时间";
    WAITED = "voluntary context switches/GB", "自愿切换（等待）/GB";
    PREEMPTED = "involuntary context switches/GB", "非自愿切换（被抢占）/GB";
    STREAMS = "One stream to one, and to many", "一个数据流：给一个接收者，给多个接收者";
    STREAM = "stream", "数据流";
    CONSUMERS = "consumers", "接收者数";
    RATE = "GB/s delivered", "送达 GB/s";
    CPU_DELIVERED = "CPU s/GB delivered", "每送达 1 GB 的 CPU 秒数";
    TIMES_CPU = "× CPU of read-write", "× read-write 的 CPU 时间";
    NO_STREAMS = "No stream was passed on in this run.", "本次运行没有转发数据流。";

    SAMPLING = "Where the CPU time went", "CPU 时间花在哪里";
    SAMPLING_INTRO = "The sending thread was sampled by a timer; this is how often it was in a function of the kernel that copies.",
        "对发送线程定时采样，统计它有多少次处在内核的拷贝函数中。";
    SIZE = "size", "大小";
    LOOKS = "samples", "采样次数";
    SHARE = "share in copies (95 % interval)", "拷贝所占比例（95 % 区间）";
    FUNCTIONS = "functions that copy", "拷贝函数";
    NO_FUNCTIONS = "none seen", "未见";

    CONDITIONS = "Measured where and how", "测量环境与方法";
    MACHINE = "Machine", "机器";
    KERNEL = "kernel", "内核";
    PROCESSOR = "processor", "处理器";
    PROCESSORS = "processors usable", "可用处理器数";
    MEMORY = "memory", "内存";
    FILE_SYSTEM = "file system", "文件系统";
    INTERFACES = "Interfaces", "网络接口";
    GATHERS = "gathers (scatter-gather)", "支持分散-聚集（scatter-gather）";
    GATHERS_NOT = "does not gather (no scatter-gather)", "不支持分散-聚集（scatter-gather）";
    GATHERS_PERHAPS = "did not say whether it gathers", "未说明是否支持分散-聚集（scatter-gather）";
    PROBES = "Probes", "探针";
    COUNTS = "counts", "计数内容";
    USED = "used", "已使用";
    UNUSED = "not used", "未使用";
    METHOD = "Method", "方法";
    ROUNDS = "timed rounds", "计时轮数";
    UNIT = "bytes a call asks for (underpass, tls-seal and tls-sendfile choose their own)", "每次调用请求的字节数（underpass、tls-seal 与 tls-sendfile 自行选择）";
    COUNTED_OVER = "bytes that the counts were taken over", "计数所覆盖的字节数";
    SAMPLE = "bytes moved in one timed sample", "每个计时样本传输的字节数";
    TLS_USED = "TLS of the ways that have it", "所用的 TLS";
    REPEAT = "To repeat it", "重复测量";

    TERMS = "Terms", "术语";
    KERNEL_MODE_MEANS = "The processor runs programs in user mode, the operating system in kernel mode; each has its own part of memory, user space and kernel space.",
        "处理器在用户态运行程序，在内核态运行操作系统；两者各有自己的内存区域，即用户空间与内核空间。";
    MODE_SWITCH_MEANS = "A mode switch (user/kernel) is the way into the kernel or back: two for each system call. A context switch is something else: the processor turns to another thread.",
        "模式切换指从用户态进入内核态，或返回用户态：每次系统调用两次。上下文切换则不同：处理器转去运行另一个线程。";
    DMA_MEANS = "With DMA a device reads or writes memory by itself while the CPU does something else.",
        "DMA 指设备自行读写内存，CPU 同时可以做别的事。";
    GATHER_MEANS = "With scatter-gather an interface collects a packet from several places in memory, so that the kernel need not copy it into one piece first.",
        "分散-聚集（scatter-gather）指网络接口能从内存的多处收集一个数据包，内核不必先把它拷贝成连续的一块。";
    CRYPTO_PASS_MEANS = "TLS cuts what is sent into records and encrypts each. A pass of encryption reads every byte and writes it elsewhere, as a copy does; it is needed, so it is counted apart from the copies.",
        "TLS 把要发送的内容切成记录，并逐条加密。加密一遍要读取每个字节并写到别处，与拷贝相似；但加密必不可少，因此与拷贝分开计数。";
    PAGE_CACHE_MEANS = "The page cache is the kernel buffer that files are read into; everyone who reads the file takes from the same pages.",
        "页缓存是内核读入文件所用的缓冲区；所有读取这个文件的程序都使用同样的页。";

    GROUNDS = "Grounds of the numbers", "数字的依据";
    GROUNDS_INTRO = "The small numbers beside the counts lead here.", "计数旁的小号数字对应这里的条目。";

    NO_UNITS = "No way was counted in this run.", "本次运行没有对任何方式计数。";
    NO_TIMES = "Nothing was timed in this run.", "本次运行没有计时。";
    NO_SAMPLING = "Nothing was sampled in this run; the probes below say why.", "本次运行没有定时采样；原因见下面的探针一节。";
    NO_ROWS_HERE = "Nothing was timed over this interface in this run.", "本次运行没有在此网络接口上计时。";
    NOT_COUNTED = "was not counted in this run", "本次运行没有计数";
    NO_INTERFACE = "No interface of this kind was used in this run.", "本次运行没有使用这样的网络接口。";
    NO_PROBES = "The report names no probe.", "报告没有列出探针。";
    NO_INTERFACES = "The report names no interface.", "报告没有列出网络接口。";
    NOT_TIMED = "not timed", "未计时";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages() {
        let chinese = |letter| ('\u{4e00}'..='\u{9fff}').contains(&letter);
        for &Text(english, translation) in ALL {
            assert!(!english.chars().any(chinese), "{english}");
            assert!(translation.chars().any(chinese), "{english}: {translation}");
        }
    }
}
