import { beginPage } from '@/shared/page.js'
import { Session } from '@/shared/session.js'
import App from './App.vue'
import { asked } from './address.js'
import en from './locale/en.js'
import zhCN from './locale/zh-CN.js'

const { order, token } = asked(location.pathname)
const session = token === undefined ? new Session({ role: 'customer', keep: 'tab' }) : new Session({ role: 'shared', keep: 'no', token })
void session.begin()
beginPage(App, { 'zh-CN': zhCN, en }, { session, order, link: token !== undefined })
