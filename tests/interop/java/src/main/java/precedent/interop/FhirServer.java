package precedent.interop;

import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.provider.ValueSetOperationProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.SearchPreferHandlingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.h2.jdbcx.JdbcDataSource;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/**
 * HAPI FHIR JPA R4 over H2 in memory, on a free port of the loopback interface.
 *
 * <p>Searches are cached for 60 s, as HAPI does unless told otherwise. With an issuer, requests need
 * an access token of it: {@code FhirServer ISSUER AUDIENCE}, the issuer a realm of Keycloak.
 */
public final class FhirServer {
    private FhirServer() {}

    /** Serves until the process is ended; prints the base address when ready. */
    public static void main(String[] arguments) throws Exception {
        var context = new AnnotationConfigApplicationContext(Beans.class);
        var server = new Server();
        var connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        server.addConnector(connector);
        var servlets = new ServletContextHandler("/");
        if (arguments.length == 2) {
            var check = new TokenCheck(arguments[0], arguments[1]);
            servlets.addFilter(new FilterHolder(check), "/fhir/*", null);
        }
        servlets.addServlet(new ServletHolder(context.getBean(RestfulServer.class)), "/fhir/*");
        server.setHandler(servlets);
        server.setStopAtShutdown(true);
        server.start();
        System.out.println("Ready at http://127.0.0.1:" + connector.getLocalPort() + "/fhir");
        server.join();
    }

    /** HAPI's own configurations, and the beans that they leave to the application. */
    @Configuration
    @Import({
        JpaR4Config.class, HapiJpaConfig.class, JpaBatch2Config.class, Batch2JobsConfig.class,
        ThreadPoolFactoryConfig.class, SubscriptionChannelConfig.class
    })
    static class Beans {
        @Bean
        JpaStorageSettings storageSettings() {
            return new JpaStorageSettings();
        }

        @Bean
        PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        SubscriptionSettings subscriptionSettings() {
            return new SubscriptionSettings();
        }

        @Bean
        DataSource dataSource() {
            var source = new JdbcDataSource();
            source.setURL("jdbc:h2:mem:fhir;DB_CLOSE_DELAY=-1");
            return source;
        }

        @Bean
        LocalContainerEntityManagerFactoryBean entityManagerFactory(
                ConfigurableListableBeanFactory beans, FhirContext fhir,
                JpaStorageSettings settings, DataSource dataSource) {
            var factory =
                    HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
            factory.setPersistenceUnitName("fhir");
            factory.setDataSource(dataSource);
            var properties = new Properties();
            properties.setProperty("hibernate.dialect", HapiFhirH2Dialect.class.getName());
            properties.setProperty("hibernate.hbm2ddl.auto", "create");
            properties.setProperty("hibernate.search.enabled", "false");
            factory.setJpaProperties(properties);
            return factory;
        }

        @Bean
        @Primary
        JpaTransactionManager transactionManager(EntityManagerFactory factory) {
            return new JpaTransactionManager(factory);
        }

        @Bean
        RestfulServer restfulServer(
                FhirContext fhir, ResourceProviderFactory providers, IFhirSystemDao<?, ?> systemDao,
                JpaSystemProvider<?, ?> system, ValueSetOperationProvider valueSets,
                JpaStorageSettings settings, ISearchParamRegistry parameters,
                IValidationSupport validation, DatabaseBackedPagingProvider paging) {
            var server = new RestfulServer(fhir);
            server.registerProviders(providers.createProviders());
            server.registerProviders(system, valueSets);
            server.setServerConformanceProvider(new JpaCapabilityStatementProvider(
                    server, systemDao, settings, parameters, validation));
            server.setPagingProvider(paging);
            server.registerInterceptor(new SearchPreferHandlingInterceptor(parameters));
            return server;
        }
    }
}
