import java.io.FileInputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.channels.FileChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;

/** Sends a file to each who connects: {@code Serve transferTo|read FILE}. Says its port. */
final class Serve {
    private Serve() {}

    public static void main(String[] args) throws Exception {
        var server = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        System.out.println("port " + server.socket().getLocalPort());
        while (true) {
            try (SocketChannel client = server.accept()) {
                if (args[0].equals("transferTo")) {
                    transfer(Path.of(args[1]), client);
                } else {
                    readAndWrite(args[1], client.socket().getOutputStream());
                }
            }
        }
    }

    private static void transfer(Path path, SocketChannel client) throws Exception {
        try (FileChannel file = FileChannel.open(path)) {
            long size = file.size();
            for (long at = 0; at < size; ) {
                at += file.transferTo(at, size - at, client);
            }
        }
    }

    private static void readAndWrite(String path, OutputStream client) throws Exception {
        try (FileInputStream file = new FileInputStream(path)) {
            byte[] buffer = new byte[64 << 10];
            for (int count; (count = file.read(buffer)) > 0; ) {
                client.write(buffer, 0, count);
            }
        }
    }
}
