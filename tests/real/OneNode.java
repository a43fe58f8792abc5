import java.util.List;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** An OpenSearch of one node: its home directory and its HTTP port are the arguments. */
public class OneNode {
    static final class Embedded extends Node {
        Embedded(Settings settings) {
            super(new Environment(settings, null), List.of(Netty4Plugin.class), false);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Settings.Builder settings = Settings.builder()
            .put("path.home", arguments[0])
            .put("http.port", arguments[1])
            .put("transport.port", "0")
            .put("network.host", "127.0.0.1")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("transport.type", "netty4")
            .put("http.type", "netty4");
        new Embedded(settings.build()).start();
        Thread.currentThread().join();
    }
}
