import java.io.EOFException;
import java.io.FileInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Sends a file to a socket: {@code TransferTo FILE HOST PORT transfer-to|read-write}. The first by FileChannel.transferTo,
 * the second as the standard library reads and writes, 8 KiB at a time.
 */
final class TransferTo {
    private TransferTo() {}

    public static void main(String[] args) throws IOException {
        InetSocketAddress sink = new InetSocketAddress(args[1], Integer.parseInt(args[2]));
        long before = threadCpuNanos();
        if (args[3].equals("transfer-to")) {
            transfer(Path.of(args[0]), sink);
        } else {
            readAndWrite(Path.of(args[0]), sink);
        }
        if (before >= 0) {
            System.out.println("thread_cpu_ns " + (threadCpuNanos() - before));
        }
    }

    private static void transfer(Path path, InetSocketAddress sink) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ);
                SocketChannel socket = SocketChannel.open(sink)) {
            send(file, socket);
            socket.shutdownOutput();
            awaitEnd(socket);
        }
    }

    private static void readAndWrite(Path path, InetSocketAddress sink) throws IOException {
        try (FileInputStream file = new FileInputStream(path.toFile());
                Socket socket = new Socket(sink.getAddress(), sink.getPort())) {
            file.transferTo(socket.getOutputStream());
            socket.shutdownOutput();
            while (socket.getInputStream().read() >= 0) {}
        }
    }

    private static void send(FileChannel file, SocketChannel socket) throws IOException {
        long size = file.size();
        long sent = 0;
        while (sent < size) {
            // One call moves at most 2 GiB.
            long moved = file.transferTo(sent, size - sent, socket);
            if (moved <= 0) {
                throw new EOFException("the file ended at " + sent + " of " + size + " bytes");
            }
            sent += moved;
        }
    }

    private static void awaitEnd(SocketChannel socket) throws IOException {
        ByteBuffer ignored = ByteBuffer.allocate(16);
        while (socket.read(ignored) >= 0) {
            ignored.clear();
        }
    }

    /**
     * CPU time of this thread, or -1 where the kernel does not tell. From /proc and not from ThreadMXBean: loading the
     * management classes would be charged to the process that is being measured.
     */
    private static long threadCpuNanos() {
        try {
            return Long.parseLong(Files.readString(Path.of("/proc/thread-self/schedstat")).split(" ")[0]);
        } catch (IOException | NumberFormatException e) {
            return -1;
        }
    }
}
