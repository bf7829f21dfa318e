import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;

import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;

/**
 * Speaks MongoDB's wire protocol on loopback until its standard input ends: {@code Standin [--port N] [--file PATH]}.
 * Port 0, the default, is a free one; without a file the documents live in memory.
 */
public final class Standin extends H2Backend {

    /** That of MongoDB 5.0. The library calls itself 5.0 and reports 8, which is 4.2's and too old for drivers. */
    private static final int WIRE_VERSION = 13;

    private Standin(String file) {
        super(file);
    }

    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
        String known = command.equalsIgnoreCase("hello") ? "isMaster" : command;
        Document reply = super.handleCommand(channel, database, known, query);
        reply.computeIfPresent("maxWireVersion", (key, reported) -> WIRE_VERSION);
        return reply;
    }

    public static void main(String[] args) throws IOException {
        int port = 0;
        String file = null;
        for (int i = 0; i < args.length; i += 2) {
            if (args[i].equals("--port") && i + 1 < args.length) {
                port = Integer.parseInt(args[i + 1]);
            } else if (args[i].equals("--file") && i + 1 < args.length) {
                file = args[i + 1];
            } else {
                System.err.println("usage: Standin [--port N] [--file PATH]");
                System.exit(2);
            }
        }
        MongoServer server = new MongoServer(new Standin(file));
        server.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port));
        System.out.println("listening 127.0.0.1:" + server.getLocalAddress().getPort());
        // The parent writes nothing: its end, however it came, is the end of this input.
        while (System.in.read() >= 0) { }
        server.shutdownNow();
    }
}
